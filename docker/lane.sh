#!/usr/bin/env bash
# Tests this package on aarch64: natively on such a machine, else inside the arm64 test image under QEMU as an A64FX.
#   docker/lane.sh [--image NAME] [--native] [--need-sve] [--list] [PART...]
#     --image NAME   the image to test; docker/build.sh --platform linux/arm64 --target test makes the default
#     --native       test this machine with .venv, whatever its processor is
#     --need-sve     fail on a processor without SVE instead of testing what it has
#     --list         print the names of the parts
#     PART           run only the parts whose names contain one of these words
# Emulation proves that results are right and that no instruction is missing; it says nothing about speed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

image=mfugaku-test:arm64
mode=
parts=()

fail() { printf 'lane: error: %s\n' "$*" >&2; exit 3; }

while [ $# -gt 0 ]; do
    case $1 in
        --image) [ $# -gt 1 ] || fail "--image names no image. Give one: --image NAME."; image=$2; shift ;;
        --native) mode=native ;;
        --need-sve | --list) parts+=("$1") ;;
        --help | -h) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        -*) fail "there is no option $1. docker/lane.sh --help names those that exist." ;;
        *) parts+=("$1") ;;
    esac
    shift
done
[ -n "$mode" ] || { [ "$(uname -m)" = aarch64 ] && mode=native || mode=emulated; }

if [ "$mode" = native ]; then
    [ -x .venv/bin/python ] || fail ".venv is not there. The tests run in it. Make it: make setup."
    LANE_MODE=native LANE_PYTHON=$PWD/.venv/bin/python exec docker/lane/parts.sh "${parts[@]}"
fi

# The F flag: the kernel keeps the emulator open, so that containers need none of their own.
check_emulator() {
    local handler=${LANE_BINFMT_MISC:-/proc/sys/fs/binfmt_misc}/qemu-aarch64
    local install="Install QEMU: apt-get install qemu-user-static binfmt-support"
    [ -e "$handler" ] || fail "this $(uname -m) machine does not run aarch64 programs: $handler is not there." \
        "The tests need an emulator. $install; in a container also: mount -t binfmt_misc binfmt_misc ${handler%/*}."
    grep -qx enabled "$handler" || fail "$handler is disabled. The tests need an emulator." \
        "Enable it: update-binfmts --enable qemu-aarch64."
    grep -q '^flags:.*F' "$handler" || fail "the emulator in $handler is registered without the flag F, so containers" \
        "do not find it. $install, in place of the present registration."
}

in_image() { "${LANE_RUN:-docker/run.sh}" --image "$image" "$@"; }

check_image() {
    local machine said
    if ! machine=$(in_image -- uname -m 2>"$errors"); then
        said=$(tail -n 1 "$errors")
        fail "the image $image does not start${said:+ (it says: $said)}. The tests of aarch64 run inside it." \
            "Build it: docker/build.sh --platform linux/arm64 --target test, or name another: --image NAME."
    fi
    [ "$machine" = aarch64 ] || fail "the image $image is one for $machine. The tests are those of aarch64." \
        "Build it: docker/build.sh --platform linux/arm64 --target test, or name another: --image NAME."
    if ! in_image --cpu a64fx -- true 2>"$errors"; then
        fail "the emulator knows no A64FX ($(tail -n 1 "$errors")). It is older than QEMU 6.2." \
            "Install a newer qemu-user-static."
    fi
}

errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
check_emulator
check_image
in_image --cpu a64fx -- env LANE_MODE=emulated LANE_PYTHON=python3 docker/lane/parts.sh "${parts[@]}"
