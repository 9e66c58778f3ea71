#!/bin/sh
# Installs locked packages for the target, without running anything of the target's: install_packages.sh LOCK FOLDER
set -eu
lock=$1
folder=$2
# DeepSpeed has no wheels; with DS_BUILD_OPS=0 its own is pure Python, whoever builds it.
# shellcheck disable=SC2046
uv pip install --quiet --no-config --no-deps --target "$folder" $(cat /lock/platform /lock/find_links) \
    --only-binary :all: --no-binary deepspeed --build-constraints /lock/constraints.txt --requirements "$lock"
