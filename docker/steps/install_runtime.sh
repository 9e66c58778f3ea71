#!/bin/sh
# Installs what a run needs of Debian, in the image itself: install_runtime.sh arm64|amd64
set -eu
machine=$(uname -m)
case $1:$machine in
    arm64:aarch64 | amd64:x86_64) ;;
    *) echo "install_runtime: error: the image is for $1 and its programs run as $machine. The base image has the wrong" \
        "architecture. Give one for linux/$1: --build-arg BASE_IMAGE=..." >&2; exit 3 ;;
esac
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates libgomp1 libnuma1 openmpi-bin procps python3
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/* /var/log/apt /var/log/dpkg.log
useradd --create-home --uid 1000 mfugaku
