# Every target works as the first command after a clone: it makes .venv from the pinned lock it needs.
# A second call installs nothing.

PYTHON ?= $(firstword $(shell command -v python3.11 python3 python))
BIN := .venv/bin
SEEDS ?= 0 1 2
CONFIG ?= serve_config.yaml
# What Ray starts with where it serves; cluster.yaml has the same, and serve_config.yaml says why.
SERVE_ENV := RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=wristmir_ray.serving.door:middlewares \
	RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD=0 RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP=0 \
	RAY_SERVE_USE_GRPC_BY_DEFAULT=1 RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH=100000000 \
	RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE=100 RAY_SERVE_ENABLE_DIRECT_INGRESS=1 \
	RAY_SERVE_CONTROL_LOOP_INTERVAL_S=0.25 RAY_SERVE_METRICS_EXPORT_INTERVAL_MS=1000 \
	RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S=10 RAY_SERVE_PORT_QUARANTINE_S=0
export RAY_AUTH_MODE ?= disabled
export RAY_USAGE_STATS_ENABLED ?= 0
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo demo-seeds ablation serve check format test test-ray test-all bench lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v != (3, 11) and f"Python 3.11 is needed, found {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/uv.txt
	@touch $@

.venv/.demo: requirements/demo.txt | $(BIN)/uv
	UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet -p $(BIN)/python --overrides requirements/overrides.txt -r requirements/demo.txt
	$(BIN)/uv pip install --quiet -p $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements/dev.txt | .venv/.demo
	UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet -p $(BIN)/python --no-deps -r requirements/dev.txt
	@touch $@

setup: .venv/.dev ## install everything, with the development tools

demo: .venv/.demo ## the whole pipeline on a synthetic archive; report in artifacts/demo/report.html
	$(BIN)/python jobs/demo.py

demo-seeds: .venv/.demo ## the demo over several seeds (SEEDS="0 1 2"), results in tests/bench/results
	$(BIN)/python jobs/demo.py --seeds "[$(shell echo $(SEEDS) | tr ' ' ,)]"

ablation: .venv/.demo ## train the paper's variants on phantoms over three seeds; table in artifacts/ablation/ablation.md
	$(BIN)/python jobs/ablation.py

serve: .venv/.demo ## serve an index, the demo's on http://127.0.0.1:8000 (CONFIG=my_serve.yaml for another)
	$(BIN)/python -m wristmir_ray.serving.check --start $(CONFIG)
	PATH="$(CURDIR)/$(BIN):$$PATH" RAY_worker_niceness=0 $(SERVE_ENV) serve run $(CONFIG)

format: .venv/.dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: .venv/.dev ## ruff, mypy strict, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: .venv/.dev ## what must pass before every push (about twenty minutes)
	$(BIN)/pytest -m "not slow and not gpu"

test-ray: .venv/.dev ## only what runs on a real local Ray
	$(BIN)/pytest -m "ray and not slow and not gpu"

test-all: .venv/.dev ## also what is slow: fuzzing, fault campaigns
	$(BIN)/pytest -m "not gpu"

bench: .venv/.dev ## benchmarks against fair peers, one JSON line each; exit code says whether a gate was missed
	$(BIN)/python tests/bench/run.py

lock: $(BIN)/uv ## compile requirements/*.in to *.txt (no address of an index is written)
	$(BIN)/uv pip compile --quiet --no-emit-index-url --no-header --python-version 3.11 --overrides requirements/overrides.txt requirements/dev.in -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --no-emit-index-url --no-header --python-version 3.11 --overrides requirements/overrides.txt requirements/demo.in -c requirements/dev.txt -o requirements/demo.txt
	$(BIN)/uv pip compile --quiet --no-emit-index-url --no-header --python-version 3.11 --overrides requirements/overrides.txt requirements/gpu.in -o requirements/gpu.txt

clean: ## remove artefacts (not .venv)
	rm -rf artifacts .mypy_cache .ruff_cache .pytest_cache .hypothesis
