#!/usr/bin/env bash
# Schemathesis makes requests of all kinds out of the gateway's OpenAPI document: none may end in a failure
# of the gateway (5xx), none in an answer that the document does not tell of. About a minute; the first time
# installs schemathesis into .cache.
set -euo pipefail
cd "$(dirname "$0")/../.."
VERSION=4.32.5
TOOL=$PWD/.cache/schemathesis
if ! "$TOOL/bin/st" --version 2>/dev/null | grep -qF "$VERSION"; then
    echo "openapi: installing schemathesis $VERSION into $TOOL"
    python3 -m venv "$TOOL"
    "$TOOL/bin/pip" --quiet --disable-pip-version-check install "schemathesis==$VERSION"
fi

folder=$(mktemp -d)
trap 'kill "${gateway:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
mkdir "$folder/auth"
printf admin > "$folder/auth/basic-auth-user"
printf s3cret > "$folder/auth/basic-auth-password"
printf 'images:\n  "0": { process: cat, mode: fork }\n' > "$folder/images.yaml"
target/release/turlough-gateway --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 \
    --folder "$folder/state" --images "$folder/images.yaml" --basic-auth "$folder/auth" 2> "$folder/log" &
gateway=$!
url=
for _ in $(seq 100); do
    url=$(grep -o 'http://127.0.0.1:[0-9]*' "$folder/log" | head -1 || true)
    [ -n "$url" ] && break
    sleep 0.1
done
[ -n "$url" ] || { cat "$folder/log" >&2; echo "openapi: the gateway did not start" >&2; exit 1; }

# Stateful phases would follow links that the document does not make.
(cd "$folder" && "$TOOL/bin/st" run "$url/openapi.yaml" --url "$url" --auth admin:s3cret --no-color \
    --phases coverage,fuzzing --max-examples "${EXAMPLES:-100}" --request-timeout 10 \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method,ignored_auth)
kill -0 "$gateway" || { cat "$folder/log" >&2; echo "openapi: the gateway is gone" >&2; exit 1; }
