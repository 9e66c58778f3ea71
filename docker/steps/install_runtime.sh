#!/bin/sh
# Installs what a run needs of Debian, in the image itself: install_runtime.sh arm64|amd64
# Here already is what collect_shared.sh collected. Debian's scripts would make it again, which emulated takes minutes;
# so what they call for that does nothing meanwhile. In the end, what does not fit the installed packages is made here.
set -eu
machine=$(uname -m)
case $1:$machine in
    arm64:aarch64 | amd64:x86_64) ;;
    *) echo "install_runtime: error: the image is for $1 and its programs run as $machine. The base image has the wrong" \
        "architecture. Give one for linux/$1: --build-arg BASE_IMAGE=..." >&2; exit 3 ;;
esac

bytecode=$(find /usr/lib/python3.* -name 'py_compile.*.pyc')
standard_library=${bytecode%/__pycache__/*}
compiler=$standard_library/py_compile.py
certifier=/usr/sbin/update-ca-certificates
bundle=/etc/ssl/certs/ca-certificates.crt
for program in "$compiler" "$certifier"; do
    dpkg-divert --quiet --local --rename --add "$program"
done
# It may be sent names of files.
echo 'import sys; sys.argv[1:] == ["-"] and sys.stdin.read()' >"$compiler"
printf '#!/bin/sh\n' >"$certifier"
chmod +x "$certifier"

apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates libgomp1 libnuma1 openmpi-bin procps python3

for program in "$compiler" "$certifier"; do
    rm "$program"
    dpkg-divert --quiet --local --rename --remove "$program"
done
# Python compares the time and size of a source, as it does when it imports.
/usr/bin/python3 -m compileall -q "$standard_library"
# The package's certificates in its order, unless a base image brought some of its own.
sed -n 's|^[^#!]|/usr/share/ca-certificates/&|p' /etc/ca-certificates.conf | xargs cat >/tmp/certificates
if [ -n "$(ls /usr/local/share/ca-certificates)" ] || ! cmp -s /tmp/certificates "$bundle"; then
    update-ca-certificates --fresh
fi
rm /tmp/certificates
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/* /var/log/apt /var/log/dpkg.log
useradd --create-home --uid 1000 mfugaku
