#!/usr/bin/env bash
# Tests this package on aarch64: natively on such a machine, else in the arm64 test image, which QEMU runs as an A64FX.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=docker/common.sh
. docker/common.sh

usage() {
    cat <<'TEXT'
usage: docker/lane.sh [--image NAME] [--native] [--need-sve] [--list] [PART...]

  --image NAME   the image to test; default: what docker/build.sh --platform linux/arm64 --target test makes
  --native       test this machine with .venv, whatever its processor is; the default on aarch64
  --need-sve     fail on a processor without SVE instead of testing what it has
  --list         only name the parts
  PART           run only the parts whose names contain one of these words

Emulation shows that results are right and that no instruction is used that a processor lacks; it says nothing about
speed.
TEXT
}

image='' mode='' arguments=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --image) [ $# -gt 1 ] || fail 2 "--image has no value. See docker/lane.sh --help."; image=$2; shift ;;
        --native) mode=native ;;
        --need-sve | --list) arguments+=("$1") ;;
        -*) fail 2 "'$1' is not an option. See docker/lane.sh --help." ;;
        *) arguments+=("$1") ;;
    esac
    shift
done
[ -n "$mode" ] || { [ "$(host_architecture)" = arm64 ] && mode=native || mode=emulated; }

if [ "$mode" = native ]; then
    [ -x .venv/bin/python ] || fail 3 ".venv is not there. The tests of this machine run in it. Make it: make setup."
    exec env LANE_MODE=native "LANE_PYTHON=$PWD/.venv/bin/python" docker/lane/parts.sh "${arguments[@]}"
fi
# What is missing, an image or an emulator, run.sh says.
exec docker/run.sh --platform linux/arm64 --target test ${image:+--image "$image"} --env QEMU_CPU=a64fx \
    --env LANE_MODE=emulated --env LANE_PYTHON=python3 --env "LANE_CORES=${LANE_CORES:-$(nproc)}" \
    docker/lane/parts.sh "${arguments[@]}"
