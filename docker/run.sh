#!/usr/bin/env bash
# Runs a command in an image that docker/build.sh has built, with whichever of Docker, podman and buildah has it.
set -euo pipefail
# shellcheck source=docker/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<'TEXT'
usage: docker/run.sh [--platform linux/arm64|linux/amd64] [--target runtime|test] [--image NAME]
                     [--volume HERE:THERE[:ro]]... [--env NAME=VALUE]... [--workdir FOLDER] [--user USER] COMMAND...

The network is this machine's. On another architecture than the image's, QEMU runs it: an arm64 image as an A64FX with
64-byte vectors, unless QEMU_CPU says otherwise (--env QEMU_CPU=a64fx,sve512=off: 32 bytes; docker/README.md has more).
TEXT
}

platform='' target=runtime image='' workdir='' user='' engine=''
options=() environment=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --) shift; break ;;
        -*) [ $# -gt 1 ] || fail 2 "$1 has no value. See docker/run.sh --help." ;;&
        --platform | --target | --image | --workdir | --user | --engine) printf -v "${1#--}" %s "$2"; shift 2 ;;
        --volume) options+=(--volume "$2"); shift 2 ;;
        --env) environment+=("$2"); shift 2 ;;
        -*) fail 2 "'$1' is not an option. See docker/run.sh --help." ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || fail 2 "no command. Give one, such as: docker/run.sh mfugaku doctor"

host=$(host_architecture)
wanted=${platform:+$(architecture_of "$platform")}
case $target in runtime) name=mfugaku ;; test) name=mfugaku-test ;; *) name=mfugaku-$target ;; esac
image=${image:-$name:${wanted:-$host}}

# Prints the architecture of an image that an engine has; fails when it has none of that name.
inspect() {
    case $1 in
        docker) docker_answers && docker image inspect --format '{{.Architecture}}' "$image" ;;
        podman) command -v podman >/dev/null && podman image inspect --format '{{.Architecture}}' "$image" ;;
        buildah) command -v buildah >/dev/null && is_root &&
            buildah inspect --type image --format '{{.OCIv1.Architecture}}' "$image" ;;
        *) fail 2 "there is no engine '$1'. Use docker, podman or buildah." ;;
    esac 2>/dev/null
}
for candidate in ${engine:-docker podman buildah}; do
    if architecture=$(inspect "$candidate"); then
        engine=$candidate
        break
    fi
done
[ -n "${architecture:-}" ] || fail 3 "no image '$image' is in the storage of ${engine:-docker, podman or buildah}." \
    "It has to be built first (buildah's images are root's)." \
    "Run: docker/build.sh --platform linux/${wanted:-$host} --target $target"
[ "$architecture" = "${wanted:-$architecture}" ] ||
    fail 2 "$image is an image for linux/$architecture, not for $platform. Give the --image of that platform."

ensure_emulation "$architecture"
if [ "$architecture" != "$host" ]; then
    [ "$architecture" != arm64 ] || options+=(--env "QEMU_CPU=${QEMU_CPU:-a64fx}")
    # QEMU does not know the system call by which ranks read each other's memory.
    options+=(--env OMPI_MCA_btl_vader_single_copy_mechanism=none)
fi
for assignment in ${environment[@]+"${environment[@]}"}; do
    options+=(--env "$assignment")
done
[ -z "$user" ] || options+=(--user "$user")

if [ "$engine" != buildah ]; then
    terminal=()
    [ ! -t 0 ] || terminal=(--tty)
    [ -z "$workdir" ] || options+=(--workdir "$workdir")
    exec "$engine" run --rm --interactive "${terminal[@]}" --platform "linux/$architecture" --network host --ipc host \
        ${options[@]+"${options[@]}"} "$image" "$@"
fi
[ -z "$workdir" ] || options+=(--workingdir "$workdir")
container=$(buildah from --quiet --pull-never --arch "$architecture" "$image" 2>/dev/null)
trap 'buildah rm "$container" >/dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
buildah run --isolation chroot ${options[@]+"${options[@]}"} "$container" -- "$@"
