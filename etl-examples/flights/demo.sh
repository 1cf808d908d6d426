#!/usr/bin/env bash
# Runs the flights pipeline once, from the CSV files to the report, and shows both.
# Needs what `make build data` makes; `make demo` does all of it.
set -euo pipefail
cd "$(dirname "$0")/../.."
turlough=$PWD/target/release/turlough
mkdir -p etl-examples/flights/out

# Where the state can be shared, two replicas share it.
case "${TURLOUGH_STATE:-memory:}" in
memory:* | file:*) ;;
*) export FLIGHTS_REPLICAS="${FLIGHTS_REPLICAS:-2}" ;;
esac

"$turlough" dev --quiet -f etl-examples/flights/stack.yaml \
    --gateway-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 -- \
    "$turlough" run flights --data '{}' --output json >etl-examples/flights/out/run.json

python3 etl-examples/flights/report.py etl-examples/flights/out/flights.sqlite etl-examples/flights/out/run.json
