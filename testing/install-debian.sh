#!/bin/sh
# What tests run beside or under our programs: installs Debian's redis-server and libfaketime where they
# are missing and that is allowed, and otherwise says what to do. No service is started: each test runs
# a server of its own.
set -eu

missing=
{ command -v redis-server && command -v redis-cli; } >/dev/null || missing=redis-server
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="${missing:+$missing }libfaketime"
if [ -z "$missing" ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing: $missing (redis-server 6.2 or newer); on Debian and Ubuntu: sudo apt-get install $missing" >&2
    exit 1
fi
echo "installing $missing by apt-get"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get update -q
# shellcheck disable=SC2086 # words apart
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
