#!/bin/sh
# Runs a command that fetches Python packages with the build's own settings, when there are any: the secret
# package_settings holds lines like UV_DEFAULT_INDEX=https://mirror.example/simple, the secret ca_bundle certificates.
set -eu
if [ -s /run/secrets/package_settings ]; then
    set -a
    # shellcheck source=/dev/null
    . /run/secrets/package_settings
    set +a
fi
if [ -s /run/secrets/ca_bundle ]; then
    export SSL_CERT_FILE=/run/secrets/ca_bundle PIP_CERT=/run/secrets/ca_bundle
fi
exec "$@"
