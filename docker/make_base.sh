#!/usr/bin/env bash
# Makes what debian:bookworm-slim is, from Debian's archive: for machines that reach no image registry.
#   docker/make_base.sh arm64|amd64 OUTPUT.tar
# Run as root. A base for another architecture is unpacked and configured without emulating it.
set -euo pipefail

architecture=$1
output=$2
options=()
if [ "$architecture" != "$(dpkg --print-architecture)" ]; then
    # chrootless runs the maintainer scripts of these few packages on this machine, told where the root is.
    options=(--mode=chrootless)
fi
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
temporary=$(mktemp --suffix=.tar "$output.XXXXXX")
trap 'rm -f "$temporary"' EXIT
# The path-excludes are for later installations; chrootless does not heed them. Nor need these wait for the disk after
# every file: a build that is cut short is done again. $1 in the hooks is for the shell that mmdebstrap starts. Without a
# mirror named, it takes Debian's, with updates and security.
# shellcheck disable=SC2016
mmdebstrap --quiet --architectures="$architecture" --variant=minbase "${options[@]}" \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include=usr-is-merged \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --customize-hook='rm -f "$1/etc/resolv.conf" "$1/etc/hostname"' \
    --customize-hook='rm -rf "$1"/usr/share/man/* "$1"/usr/share/locale/*' \
    --customize-hook='find "$1/usr/share/doc" -type f ! -name copyright -delete' \
    bookworm "$temporary"
mv "$temporary" "$output"
