#!/usr/bin/env bash
# The suite of the store's backends against a server of S3: versitygw over a folder, on a free port. It is
# built by Go into .cache/tools where it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=v1.8.0
tools=$PWD/.cache/tools
gateway=$tools/versitygw-$version
if [ ! -x "$gateway" ]; then
    if ! command -v go >/dev/null; then
        echo "s3.sh: versitygw is missing, and so is go, which builds it; install Go 1.24 or newer" >&2
        exit 1
    fi
    echo "s3.sh: building versitygw $version into .cache/tools"
    mkdir -p "$tools"
    GOBIN=$tools/go go install "github.com/versity/versitygw/cmd/versitygw@$version"
    mv "$tools/go/versitygw" "$gateway"
fi

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
folder=$(mktemp -d)
mkdir "$folder/turlough"
ROOT_ACCESS_KEY=tester ROOT_SECRET_KEY=not-a-secret \
    "$gateway" --port "127.0.0.1:$port" --quiet posix "$folder" >"$folder.log" 2>&1 &
server=$!
trap 'kill "$server"; wait "$server" || true; rm -rf "$folder" "$folder.log"' EXIT
for _ in $(seq 100); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        break
    fi
    sleep 0.1
done

export AWS_ENDPOINT_URL=http://127.0.0.1:$port AWS_ALLOW_HTTP=true AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=tester AWS_SECRET_ACCESS_KEY=not-a-secret
export TURLOUGH_TEST_S3=s3://turlough/tests
if ! ${CARGO:-cargo} test -p turlough-datastore --test conformance in_s3 -- --ignored; then
    cat "$folder.log" >&2
    exit 1
fi
