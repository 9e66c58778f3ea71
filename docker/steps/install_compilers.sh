#!/bin/sh
# Installs Debian's compilers for the target architecture, with the target's MPI and Python headers and libraries.
set -eu
target=$1
native=$(dpkg --print-architecture)
triplet=$(case $target in arm64) echo aarch64-linux-gnu ;; amd64) echo x86_64-linux-gnu ;; esac)
if [ "$target" = "$native" ]; then
    compiler=g++
else
    dpkg --add-architecture "$target"
    compiler=g++-$(echo "$triplet" | tr _ -)
fi
apt-get update
# doctest-dev is headers only.
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    "$compiler" ccache doctest-dev pkg-config "libopenmpi-dev:$target" "libpython3-dev:$target"
rm -rf /var/lib/apt/lists/*
cp /steps/mpicxx.sh "/usr/local/bin/$triplet-mpicxx"
