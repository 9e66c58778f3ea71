#!/bin/sh
# Builds this package's wheel and unpacks it: build_package.sh FOLDER
set -eu
pip wheel --quiet --no-build-isolation --no-deps --wheel-dir /tmp/wheel .
echo "built $(ls /tmp/wheel)"
architecture=${_PYTHON_HOST_PLATFORM#linux-}
# Debian bookworm, which this was compiled on and will run on, has glibc 2.36.
env -u _PYTHON_HOST_PLATFORM -u _PYTHON_SYSCONFIGDATA_NAME -u PYTHONPATH \
    uv pip install --quiet --no-config --no-deps --no-index --target "$1" \
    --python-platform "$architecture-manylinux_2_36" /tmp/wheel/*.whl
# The tests expect the sources beside them.
packages=$(python3 -c 'import sys; print("/usr/local/lib/python%d.%d/dist-packages" % sys.version_info[:2])')
mkdir /package_link
ln -s "$packages/megatron_fugaku" /package_link/megatron_fugaku
