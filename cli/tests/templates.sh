#!/usr/bin/env bash
# The way from the templates to pipelines that run: what faas-cli makes of `template/` is built against this
# folder, and deployed to a gateway that asks for a password. Images are not built. Some minutes the first time.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
CARGO=${CARGO:-cargo}
# Where the programs are that are tried.
export PATH=${BUILT:-$root/target/release}:$PATH
target=$root/target/templates
work=$(mktemp -d)
trap 'kill "${gateway:-}" 2>/dev/null || true; rm -rf "$work"' EXIT

# As `faas-cli new` lays them out.
cp -r template/rust-flow/function "$work/orders"
cp -r template/yaml-flow/function "$work/greetings"

# The lock file is made with a path in the place of the URL, since cargo would fetch that otherwise, also
# where a patch stands for it.
url=https://turlough.invalid/turlough.git
cd "$work/orders"
cp "$root/Cargo.lock" .
cp Cargo.toml as-generated.toml
sed -i "s|{ git = \"$url\" }|{ path = \"$root/flow-function\" }|" Cargo.toml
"$CARGO" generate-lockfile --offline --quiet
mv as-generated.toml Cargo.toml
"$CARGO" test --offline --target-dir "$target" \
    --config "patch.\"$url\".turlough-flow-function.path = \"$root/flow-function\""
"$CARGO" build --offline --target-dir "$target" \
    --config "patch.\"$url\".turlough-flow-function.path = \"$root/flow-function\""

cd "$work"
cat > stack.yaml <<STACK
version: 1.0
provider: { name: openfaas }
functions:
  orders:
    lang: rust-flow
    handler: ./orders
    image: orders:latest
    labels: { turlough.flow-function: "true" }
    annotations: { turlough.process: $target/debug/function }
  greetings:
    lang: yaml-flow
    handler: ./greetings
    image: greetings:latest
    labels: { turlough.flow-function: "true" }
    annotations: { turlough.process: turlough-flow-function }
STACK
mkdir auth
printf admin > auth/basic-auth-user
printf s3cret > auth/basic-auth-password
turlough-gateway --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --basic-auth auth 2> log &
gateway=$!
for _ in $(seq 100); do
    TURLOUGH_GATEWAY_URL=$(grep -o 'http://127.0.0.1:[0-9]*' log | head -1 || true)
    [ -n "$TURLOUGH_GATEWAY_URL" ] && break
    sleep 0.1
done
export TURLOUGH_GATEWAY_URL TURLOUGH_GATEWAY_PASSWORD_FILE=$work/auth/basic-auth-password
turlough deploy --wait

expect() {
    found=$(turlough run "$1" --data "$2" --quiet)
    [ "$found" = "$3" ] || { echo "templates: flow $1 gave $found, not $3" >&2; exit 1; }
}
expect order '{"items": [{"name": "tea", "count": 2, "price": 3}]}' '{"items":1,"total":6}'
expect greeting '{"name": "Ada"}' '{"greeting":"good day, Ada"}'
sed -i 's/good day/good night/' greetings/flows/greeting.yaml
turlough deploy --only greeting
expect greeting '{"name": "Ada"}' '{"greeting":"good night, Ada"}'
echo "templates: both are deployed, and run"

# The steps of the example's workflow.
cd "$root/etl-examples/ci"
TURLOUGH_GATEWAY_LISTEN=127.0.0.1:0 TURLOUGH_METRICS_LISTEN=127.0.0.1:0 turlough dev --quiet -- ./test.sh
turlough deploy --wait --timeout 5m
./test.sh
echo "templates: the pipeline of etl-examples/ci is tested and deployed"
