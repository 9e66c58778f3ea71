#!/bin/sh
# Stands for Open MPI's compiler wrapper of the architecture in its name. The real one is a program of that
# architecture; the flags it would tell also stand in its pkg-config file.
set -eu
triplet=$(basename "$0" -mpicxx)
export PKG_CONFIG_LIBDIR="/usr/lib/$triplet/pkgconfig"
case ${1:-} in
    -showme:compile | --showme:compile) pkg-config --cflags ompi ;;
    -showme:link | --showme:link) pkg-config --libs ompi ;;
    *) echo "$0: error: only -showme:compile and -showme:link are answered." >&2; exit 2 ;;
esac
