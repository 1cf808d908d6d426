#!/usr/bin/env bash
# 5,000 requests by `hey`, 50 at a time, at the fizz-buzz example: each must be answered with 200,
# and afterwards none may be open. Then the same load by turlough-loadtest, which checks the bodies.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" != --running ]; then
    if ! command -v hey >/dev/null; then
        if [ "$(id -u)" != 0 ]; then
            echo "hey.sh: hey is missing; install it (Debian: apt-get install hey)" >&2
            exit 1
        fi
        echo "hey.sh: installing the Debian package hey"
        apt-get install -y -qq hey >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq hey >/dev/null; }
    fi
    exec target/release/turlough dev --quiet -f etl-examples/fizz-buzz/stack.yaml \
        --gateway-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 -- "$0" --running
fi

out=$(hey -n 5000 -c 50 -m POST -T application/json -d '{"n":15}' "$TURLOUGH_GATEWAY_URL/function/flows/fizz-buzz")
echo "$out" | grep -E 'Requests/sec|50% in|99% in|responses$|Error'
if ! echo "$out" | grep -qE '^\s*\[200\]\s+5000 responses$'; then
    echo "hey.sh: expected 5000 times 200" >&2
    exit 1
fi
target/release/turlough-loadtest fizz-buzz --requests 5000 --concurrency 50
