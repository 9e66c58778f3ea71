#!/bin/sh
# Runs a build of setup.py for the architecture whose compilers are installed. /site holds the target's packages.
set -eu
for wrapper in /usr/local/bin/*-linux-gnu-mpicxx; do
    MPICXX=$wrapper
done
triplet=$(basename "$MPICXX" -mpicxx)
export MPICXX CC="ccache $triplet-gcc" CXX="ccache $triplet-g++" AR="$triplet-ar"
export CCACHE_DIR=/var/cache/ccache CCACHE_BASEDIR=/src CCACHE_NOHASHDIR=1 CCACHE_COMPILERCHECK=content
export _PYTHON_HOST_PLATFORM="linux-${triplet%%-*}" _PYTHON_SYSCONFIGDATA_NAME="_sysconfigdata__$triplet"
export PYTHONPATH=/site
ccache --zero-stats >/dev/null
"$@"
ccache --show-stats | grep -iE 'hits|misses' || :
