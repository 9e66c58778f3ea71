#!/bin/sh
# Copies installed packages to where the image has them, without what no run needs, and byte-compiles them:
#   trim_packages.sh FOLDER ROOT    ROOT becomes the image's /usr/local
set -eu
python=$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
packages=$2/lib/$python/dist-packages
mkdir -p "$packages"
tar -C "$1" --wildcards --exclude-from=/steps/not_at_run_time.txt -cf - . | tar -C "$packages" -xf -
if [ -d "$packages/bin" ]; then
    mv "$packages/bin" "$2/bin"
    # Scripts are started by the image's Python, not by the one that installed them.
    grep -lIr '^#!.*python' "$2/bin" | xargs -r sed -i '1s|^#!.*|#!/usr/bin/python3|'
fi
rm -f "$packages/.lock"
# unchecked: modification times differ from builder to builder, and the sources here never change.
/usr/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$2" -p /usr/local "$packages" >/tmp/compileall.log ||
    sed 's/^/not byte-compiled: /' /tmp/compileall.log | grep Error || :
