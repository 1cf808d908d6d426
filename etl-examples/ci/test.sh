#!/usr/bin/env bash
# Runs orders, and compares what comes of them. `turlough dev -- ./test.sh` starts what it needs.
set -euo pipefail

found=$(turlough run order --quiet --data '{"lines": [{"item": "tea", "count": 2}, {"item": "milk", "count": 0}]}')
[ "$found" = '{"lines":1,"total":6}' ] || { echo "two teas cost $found" >&2; exit 1; }

if turlough run order --quiet --data '{"lines": [{"item": "gold", "count": 1}]}' 2> /dev/null; then
    echo "gold has a price" >&2
    exit 1
fi
echo "orders are priced"
