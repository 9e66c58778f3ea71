# What build.sh and run.sh share. Sourced, not run.
# shellcheck shell=bash

# Where the kernel tells and takes which foreign programs it can start.
: "${BINFMT_DIR:=/proc/sys/fs/binfmt_misc}"

program=docker/$(basename "$0")
say() { printf '%s [%3d s]: %s\n' "$program" "$SECONDS" "$*"; }
# fail CODE SENTENCES: 2 for what was asked wrongly, 3 for what the machine lacks.
fail() {
    local code=$1
    shift
    printf '%s: error: %s\n' "$program" "$*" >&2
    exit "$code"
}

# "linux/arm64" -> "arm64"
architecture_of() {
    case $1 in
        linux/arm64 | linux/arm64/v8) echo arm64 ;;
        linux/amd64) echo amd64 ;;
        *) fail 2 "there is no image for platform '$1'. Its packages are chosen for two architectures only." \
            "Use --platform linux/arm64 or --platform linux/amd64." ;;
    esac
}

host_architecture() {
    case $(uname -m) in
        x86_64) echo amd64 ;;
        aarch64 | arm64) echo arm64 ;;
        *) fail 3 "this machine is a $(uname -m). Images are built on x86-64 and aarch64 only. Use one of those." ;;
    esac
}

machine_of() { if [ "$1" = arm64 ]; then echo aarch64; else echo x86_64; fi; }

is_root() { [ "$(id -u)" -eq 0 ]; }

docker_answers() { command -v docker >/dev/null && timeout 20 docker info >/dev/null 2>&1; }

# Flag F: the kernel keeps QEMU open, so that containers need none of their own.
can_emulate() { grep -qsx enabled "$BINFMT_DIR/qemu-$1" && grep -qs '^flags:.*F' "$BINFMT_DIR/qemu-$1"; }

# Makes programs of an architecture run here, as far as this can be done without installing anything.
ensure_emulation() {
    local architecture=$1 machine
    machine=$(machine_of "$architecture")
    [ "$architecture" != "$(host_architecture)" ] || return 0
    ! can_emulate "$machine" || return 0
    if is_root; then
        [ -e "$BINFMT_DIR/register" ] || mount -t binfmt_misc binfmt_misc "$BINFMT_DIR" 2>/dev/null || :
        ! command -v update-binfmts >/dev/null || update-binfmts --enable "qemu-$machine" 2>/dev/null || :
        ! can_emulate "$machine" || return 0
    fi
    fail 3 "programs for $machine do not run on this machine: $BINFMT_DIR/qemu-$machine is not there or lacks the flag F." \
        "An image for linux/$architecture needs QEMU, known to the kernel." \
        "Run as root: apt install qemu-user-static binfmt-support"
}
