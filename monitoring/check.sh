#!/usr/bin/env bash
# Tests the alert rules with Prometheus's own promtool.
set -euo pipefail
cd "$(dirname "$0")/prometheus"

if ! command -v promtool >/dev/null; then
    if [ "$(id -u)" != 0 ]; then
        echo "check.sh: promtool is missing; install Prometheus (Debian: apt-get install prometheus)" >&2
        exit 1
    fi
    echo "check.sh: installing the Debian package prometheus"
    # It is not to serve: what a policy refuses is not started.
    install="apt-get install -y -qq --no-install-recommends prometheus"
    RUNLEVEL=1 $install >/dev/null 2>&1 || { apt-get update -qq && RUNLEVEL=1 $install >/dev/null; }
fi
promtool check rules rules.yaml
promtool test rules rules.test.yaml
