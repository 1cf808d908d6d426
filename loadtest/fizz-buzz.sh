#!/usr/bin/env bash
# Sends requests to the fizz-buzz example and checks every answer; arguments go to turlough-loadtest.
set -euo pipefail
cd "$(dirname "$0")/.."
exec target/release/turlough dev --quiet -f etl-examples/fizz-buzz/stack.yaml \
    --gateway-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 -- \
    target/release/turlough-loadtest fizz-buzz "$@"
