#!/usr/bin/env bash
# Builds an image of docker/Dockerfile: with Docker when its daemon answers, else with buildah, which needs neither a
# daemon nor an image registry.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. docker/common.sh

usage() {
    cat <<'TEXT'
usage: docker/build.sh [--platform linux/arm64|linux/amd64] [--target runtime|test] [--tag NAME]
                       [--engine docker|buildah] [--archive FILE]

  --platform P           default: that of this machine
  --target T             runtime (default), or test: the runtime with pytest and the repository's tests
  --tag NAME             default: mfugaku:ARCHITECTURE, mfugaku-test:ARCHITECTURE
  --engine E             default: docker when its daemon answers and can build, else buildah
  --archive FILE         also write the image into a file, for another machine or for Apptainer

Where base images and Python packages come from. By default as your pip is configured (index-url, extra-index-url,
find-links, cert):
  --base-image NAME      instead of debian:bookworm-slim, for the target
  --build-image NAME     the same for this machine's architecture, where compilers run
  --wheels FOLDER        wheels that come before those of the package index
  --torch-index URL      where torch for x86-64 without CUDA is
  --package-settings F   lines like UV_DEFAULT_INDEX=URL; in no layer of the image
  --ca-bundle FILE       certificates to trust while building; in no layer of the image
TEXT
}

platform='' target=runtime tag='' engine='' archive=''
base_image='' build_image='' wheels='' torch_index=default package_settings='' ca_bundle=''
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --platform | --target | --tag | --engine | --archive | --base-image | --build-image | --wheels | --torch-index | \
            --package-settings | --ca-bundle)
            [ $# -gt 1 ] || fail 2 "$1 has no value. See docker/build.sh --help."
            name=${1#--}
            printf -v "${name//-/_}" %s "$2"
            shift 2 ;;
        *) fail 2 "'$1' is not an option. See docker/build.sh --help." ;;
    esac
done

host=$(host_architecture)
architecture=$(architecture_of "${platform:-linux/$host}")
case $target in
    runtime) default_tag=mfugaku:$architecture ;;
    test) default_tag=mfugaku-test:$architecture ;;
    *) fail 2 "there is no target '$target'. Use --target runtime or --target test." ;;
esac
tag=${tag:-$default_tag}
for file in "$package_settings" "$ca_bundle"; do
    [ -z "$file" ] || [ -r "$file" ] || fail 2 "'$file' cannot be read. It was given on the command line. Check the name."
done
[ -z "$wheels" ] || [ -d "$wheels" ] || fail 2 "--wheels '$wheels' is not a folder. Give the folder that holds the wheels."
[ -z "$archive" ] || [ -d "$(dirname "$archive")" ] ||
    fail 2 "--archive $archive: the folder $(dirname "$archive") does not exist. Make it first."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Prints what pip is configured to use for a setting: from its environment variables, else its configuration files.
pip_setting() {
    local section value
    for section in :env: install global; do
        value=$(sed -n "s/^$section\.$1='\(.*\)'\$/\1/p" "$work/pip_config" | sed 's/\\n/ /g; s/^ *//; s/ *$//')
        if [ -n "$value" ]; then
            printf %s "$value"
            return
        fi
    done
}

take_pip_settings() {
    local pip word index urls=() extra=()
    : >"$work/pip_config"
    for pip in pip3 pip .venv/bin/pip; do
        ! command -v "$pip" >/dev/null || { "$pip" config list >"$work/pip_config" 2>/dev/null || :; break; }
    done
    for word in $(pip_setting find-links); do
        if [ -d "${word#file://}" ]; then wheels=${wheels:-${word#file://}}; else urls+=("$word"); fi
    done
    for word in $(pip_setting extra-index-url); do
        if [[ $word == file:* ]]; then
            say "pip's index $word is not used: builds do not see this machine's folders (--wheels FOLDER gives them one)"
        else
            extra+=("$word")
        fi
    done
    index=$(pip_setting index-url)
    ca_bundle=${ca_bundle:-$(pip_setting cert)}
    ca_bundle=${ca_bundle:-${SSL_CERT_FILE:-}}
    if [ -z "$package_settings" ]; then
        package_settings=$work/package_settings
        {
            [ -z "$index" ] || printf "UV_DEFAULT_INDEX='%s'\nPIP_INDEX_URL='%s'\n" "$index" "$index"
            [ "${#extra[@]}" -eq 0 ] || printf "UV_EXTRA_INDEX_URL='%s'\nPIP_EXTRA_INDEX_URL='%s'\n%s\n" \
                "${extra[*]}" "${extra[*]}" UV_INDEX_STRATEGY=unsafe-best-match
            [ "${#urls[@]}" -eq 0 ] || printf "UV_FIND_LINKS='%s'\n" "$(IFS=,; printf %s "${urls[*]}")"
        } >"$package_settings"
    fi
    if [ "$torch_index" = default ] && compgen -G "${wheels:-/nonexistent}/torch-*x86_64.whl" >/dev/null; then
        torch_index=''
    fi
}

# Which buildx, or the builder inside older clients, can use this Dockerfile's mounts.
docker_builds() {
    docker buildx version >/dev/null 2>&1 || docker --version | grep -qE 'version (18\.09|19|20|22)\.'
}

choose_engine() {
    case $engine in
        '') if docker_answers && docker_builds; then engine=docker; else engine=buildah; fi ;;
        buildah) ;;
        docker)
            docker_answers || fail 3 "no Docker daemon answers. --engine docker builds with one." \
                "Start it, or use --engine buildah, which needs none."
            docker_builds || fail 3 "this Docker has no buildx. The Dockerfile uses its mounts." \
                "Install Docker's buildx plugin, or use --engine buildah." ;;
        *) fail 2 "there is no engine '$engine'. Use --engine docker or --engine buildah." ;;
    esac
}

install_tools() {
    local missing=()
    command -v buildah >/dev/null || missing+=(buildah)
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    if [ "$architecture" != "$host" ] && ! can_emulate "$(machine_of "$architecture")"; then
        command -v "qemu-$(machine_of "$architecture")-static" >/dev/null || missing+=(qemu-user-static)
        command -v update-binfmts >/dev/null || missing+=(binfmt-support)
    fi
    if ! is_root; then
        fail 3 "no Docker daemon is used, and you are not root. buildah makes the image's files with their owners, which" \
            "only root may. Start Docker, or run: sudo docker/build.sh${missing[*]:+ (it will install ${missing[*]})}"
    fi
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail 3 "not installed: ${missing[*]} (Debian's names), and there is no apt-get here." \
        "Without Docker the image is built with these. Install them, or start Docker."
    say "installing Debian packages: ${missing[*]}"
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        "${missing[@]}"; } >"$work/apt.log" 2>&1 ||
        fail 3 "apt-get could not install ${missing[*]}: $(tail -n 1 "$work/apt.log")"
}

# A build leaves about as much in the cache of layers as the images take.
check_room() {
    local folder=$1 needed_mb=9000 free_mb
    [ -d "$folder" ] || return 0
    free_mb=$(df --output=avail -BM "$folder" | tr -dc 0-9)
    [ "$free_mb" -ge "$needed_mb" ] || fail 3 "$folder has $free_mb MB free, and building takes about $needed_mb MB." \
        "Free some (images: $engine rmi), or move the engine's storage to a larger disk."
}

reaches_registry() { timeout 5 bash -c ': </dev/tcp/docker.io/443' 2>/dev/null; }

# Prints the name of a base image for an architecture in buildah's storage; pulled or made once.
base_for() {
    local base=localhost/mfugaku-base:bookworm-$1 pulled container
    if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
        if reaches_registry && pulled=$(buildah pull --quiet --arch "$1" docker.io/library/debian:bookworm-slim); then
            buildah tag "$pulled" "$base"
        else
            say "no image registry can be reached: making a Debian base for $1 (about a minute)" >&2
            docker/make_base.sh "$1" "$work/base.tar" >"$work/base.log" 2>&1 ||
                fail 3 "no Debian base for $1 could be made: $(grep -E '^E:' "$work/base.log" | tail -n 1)." \
                    "mmdebstrap makes it from Debian's archive. Look at that, or give one with --base-image and --build-image."
            container=$(buildah from --arch "$1" scratch)
            buildah add --quiet "$container" "$work/base.tar" / >/dev/null
            rm "$work/base.tar"
            buildah config --os linux --arch "$1" --cmd bash "$container" 2>/dev/null
            buildah commit --quiet --rm "$container" "$base" >/dev/null
        fi
    fi
    printf %s "$base"
}

take_pip_settings
choose_engine
arguments=(--platform "linux/$architecture" --target "$target" --tag "$tag" --file docker/Dockerfile
    --build-arg "VERSION=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' megatron_fugaku/__init__.py)"
    --build-arg "REVISION=$(git describe --always --dirty --abbrev=12 2>/dev/null || :)"
    --build-arg "SOURCE=$(git remote get-url origin 2>/dev/null | sed 's|//[^/@]*@|//|' || :)")
[ ! -s "$package_settings" ] || arguments+=(--secret "id=package_settings,src=$package_settings")
[ -z "$ca_bundle" ] || arguments+=(--secret "id=ca_bundle,src=$ca_bundle")
# Always given: buildah 1.28 leaves a container behind for the empty stage that it replaces. Not every Docker takes it.
mkdir "$work/no_wheels"
if [ "$engine" = docker ] && [ -n "$wheels" ] && ! docker buildx version >/dev/null 2>&1; then
    say "the wheels in $wheels are not used: this Docker has no buildx, which alone gives builds a second folder"
    wheels=''
fi
if [ "$engine" = buildah ] || [ -n "$wheels" ]; then
    arguments+=(--build-context "wheels=${wheels:-$work/no_wheels}")
fi
[ "$torch_index" = default ] || arguments+=(--build-arg "TORCH_INDEX=$torch_index")

if [ "$engine" = docker ]; then
    build=(docker buildx build --load)
    if ! docker buildx version >/dev/null 2>&1; then
        build=(env DOCKER_BUILDKIT=1 docker build)
    fi
    docker buildx inspect --bootstrap 2>/dev/null | grep -q "Platforms:.*linux/$architecture" ||
        ensure_emulation "$architecture"
    check_room "$(docker info --format '{{.DockerRootDir}}')"
    [ -z "$base_image" ] || arguments+=(--build-arg "BASE_IMAGE=$base_image")
    [ -z "$build_image" ] || arguments+=(--build-arg "BUILD_IMAGE=$build_image")
    archive_kind=docker-archive
else
    install_tools
    ensure_emulation "$architecture"
    check_room "$(buildah info --format '{{.store.GraphRoot}}')"
    # Assigned on lines of their own, so that their failure ends this script.
    base_image=${base_image:-$(base_for "$architecture")}
    build_image=${build_image:-$(base_for "$host")}
    # buildah 1.28 sets none of the platform arguments by itself that FROM needs. Three stages at a time: Debian's
    # packages of the target, which a single core emulates, the Python packages, and the compilers.
    build=(buildah build --isolation chroot --layers --jobs 3 --pull-never --build-arg "BUILDPLATFORM=linux/$host"
        --build-arg "TARGETPLATFORM=linux/$architecture" --build-arg "TARGETARCH=$architecture"
        --build-arg "BASE_IMAGE=$base_image" --build-arg "BUILD_IMAGE=$build_image")
    archive_kind=oci-archive
fi

say "building $tag for linux/$architecture with $engine"
if ! "${build[@]}" "${arguments[@]}" .; then
    [ "$engine" = buildah ] || fail 1 "$tag was not built. The reason stands above."
    # buildah 1.28 now and then finds no base image for a stage that starts together with others.
    say "once more, one stage at a time"
    "${build[@]}" --jobs 1 "${arguments[@]}" . || fail 1 "$tag was not built. The reason stands above."
fi
if [ -n "$archive" ]; then
    say "writing $archive"
    if [ "$engine" = docker ]; then
        docker save --output "$archive.partial" "$tag"
    else
        buildah push --quiet "$tag" "oci-archive:$archive.partial"
    fi || { rm -f "$archive.partial"; fail 1 "$archive could not be written. The reason stands above."; }
    mv "$archive.partial" "$archive"
    say "for Apptainer, on any machine: apptainer build mfugaku.sif $archive_kind:$archive"
fi
say "ready: $tag. Try: docker/run.sh --image $tag mfugaku doctor"
