#!/usr/bin/env bash
# Asks a real Prometheus for every panel of the dashboards, after a run of fizz-buzz.
set -euo pipefail
cd "$(dirname "$0")/.."
monitoring/check.sh >/dev/null
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
METRICS=127.0.0.1:$(free) TURLOUGH_STORE_METRICS_PORT=$(free)
export METRICS TURLOUGH_STORE_METRICS_PORT
target/release/turlough dev --quiet -f etl-examples/fizz-buzz/stack.yaml --gateway-listen 127.0.0.1:0 --metrics-listen "$METRICS" \
    -- python3 monitoring/dashboards.py
