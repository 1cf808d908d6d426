#!/bin/sh
# Redis for the tests of the state: installs Debian's redis-server where it is missing and that is
# allowed, and otherwise says what to do. No service is started: each test runs a server of its own.
set -eu

if command -v redis-server >/dev/null; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "redis-server is missing; install version 6.2 or newer, on Debian and Ubuntu by: sudo apt-get install redis-server" >&2
    exit 1
fi
echo "installing redis-server by apt-get"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends redis-server
