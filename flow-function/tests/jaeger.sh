#!/usr/bin/env bash
# A real Jaeger takes the traces of a run, and is asked for them by its query API. It is built from its Go module,
# once, in some two minutes; without Go this says that it is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=v1.62.0
folder=$PWD/.cache/tools/jaeger-$version
jaeger=$folder/all-in-one

if [ ! -x "$jaeger" ]; then
    if ! command -v go >/dev/null; then
        echo "jaeger.sh: skipped, since there is no Go to build Jaeger $version with"
        exit 0
    fi
    echo "jaeger.sh: building Jaeger $version into .cache/tools"
    mkdir -p "$folder/module"
    # Not `go install`: its go.mod has replace lines.
    (cd "$folder/module" && rm -f go.mod go.sum && go mod init turlough-jaeger && go get "github.com/jaegertracing/jaeger@$version" &&
        go build -mod=mod -o "$jaeger" github.com/jaegertracing/jaeger/cmd/all-in-one) >"$folder/build.log" 2>&1 || {
        tail -20 "$folder/build.log" >&2
        exit 1
    }
fi

free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
otlp=$(free) query=$(free) log=$(mktemp)
trap 'kill "${pid:-}" 2>/dev/null || true; rm -f "$log"' EXIT
any=127.0.0.1:0
"$jaeger" --admin.http.host-port=$any --collector.otlp.http.host-port=127.0.0.1:"$otlp" --collector.otlp.grpc.host-port=$any \
    --collector.grpc-server.host-port=$any --collector.http-server.host-port=$any --query.http-server.host-port=127.0.0.1:"$query" \
    --query.grpc-server.host-port=$any >"$log" 2>&1 &
pid=$!
for _ in $(seq 300); do
    if python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$query/api/services')" 2>/dev/null; then break; fi
    if ! kill -0 "$pid" 2>/dev/null; then
        echo "jaeger.sh: Jaeger ended:" >&2
        tail -20 "$log" >&2
        exit 1
    fi
    sleep 0.1
done
OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:$otlp JAEGER=http://127.0.0.1:$query \
    target/release/turlough dev --quiet -f etl-examples/fizz-buzz/stack.yaml \
    --gateway-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 -- python3 flow-function/tests/jaeger.py
