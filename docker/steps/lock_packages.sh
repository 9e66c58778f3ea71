#!/bin/sh
# Writes /lock/runtime.txt (the package's dependencies with some extras) and /lock/test.txt (what the extra "test" adds),
# exact versions for the target, from pyproject.toml and the versions that CI tests.
#   lock_packages.sh arm64|amd64 EXTRA,EXTRA TORCH_INDEX
set -eu
cd /lock
case $1 in
    arm64) platform=aarch64-manylinux_2_28 torch_index= ;;
    amd64) platform=x86_64-manylinux_2_28 torch_index=$3 ;;
    *) echo "lock_packages: error: no Python packages are chosen for the architecture '$1'. Use arm64 or amd64." >&2; exit 2 ;;
esac
extras=$(printf %s "$2" | sed 's/\([^,][^,]*\),*/--extra \1 /g')
python_version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
links=
[ -z "$(ls /wheels)" ] || links="--find-links /wheels"
[ -z "$torch_index" ] || links="$links --find-links $torch_index/torch/"
printf %s "$links" >find_links
printf '%s\n' "--python-platform $platform --python-version $python_version" >platform

resolve() {
    # shellcheck disable=SC2046,SC2086
    uv pip compile --quiet --no-config $(cat platform) $links --constraints constraints.txt \
        --no-header --no-annotate "$@" pyproject.toml
}
# shellcheck disable=SC2086
resolve $extras --output-file runtime.txt
if cuda=$(grep -m1 -E '^(nvidia-|cuda-|triton)' runtime.txt); then
    echo "lock_packages: error: $(grep '^torch==' runtime.txt) for $platform needs $cuda. That is gigabytes for a GPU" \
        "that is not there. Give a wheel of torch for CPUs: --build-arg TORCH_INDEX=URL or --build-context wheels=FOLDER." >&2
    exit 3
fi
# shellcheck disable=SC2086
resolve $extras --extra test --output-file all.txt
grep -vxFf runtime.txt all.txt >test.txt
cat runtime.txt
