#!/bin/sh
# Copies what Debian's installation scripts made here and is the same on every architecture, bytecode of Python's
# standard library and the links of certificates: collect_shared.sh FOLDER
set -eu
version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
tag=$(/usr/bin/python3 -c 'import sys; print(sys.implementation.cache_tag)')
mkdir "$1"
cd /
dpkg -L "libpython$version-minimal" "libpython$version-stdlib" | grep "^/usr/lib/python$version/.*\.py\$" |
    grep -v /_sysconfigdata_ | sed "s|^/\(.*\)/\([^/]*\)\.py\$|\1/__pycache__/\2.$tag.pyc|" |
    xargs cp --parents --target-directory "$1"
cp -a --parents etc/ssl/certs "$1"
