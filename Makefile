# Two commands: `make quickstart` and `make test`. Each makes its own environment below .venv and can be repeated.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Files of tests beside each other: most of the slow ones wait for servers. In order, so that the long ones start early.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: quickstart test test-fast proofs bench-data lint validate browser prometheus clean

quickstart: $(VENV)/engine.done
	$(BIN)/raytrain run recipes/quickstart.yaml

test: $(VENV)/dev.done browser prometheus lint validate
	$(PYTEST) -m "not long"

# Proofs of minutes each: services killed one by one, a paused driver, an autoscaler, a far and bad network.
proofs: $(VENV)/dev.done browser prometheus
	$(BIN)/python -m pytest -m long

test-fast: $(VENV)/dev.done
	$(PYTEST) -m "not slow and not long"

# The data half against datatrove on the same text (CORPUS: a folder of *.jsonl; else Debian's manuals): half an hour.
bench-data: $(VENV)/dev.done
	$(BIN)/python benchmarks/data.py $(if $(CORPUS),--corpus $(CORPUS))

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Everything that is not Python: cluster files, images, manifests, dashboards, rules; offline, with their own validators.
validate: $(VENV)/dev.done prometheus
	$(BIN)/python infra/validate.py

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# One marker a set of packages: nothing is asked of the network when nothing changed.
$(VENV)/%.done: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "installing raytrain[$*] into $(VENV) (a few minutes the first time)"
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e ".[$*]"
	@touch $@

# The report is tested in a real browser; without one, and without root to install it, those tests are skipped.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && echo "installing chromium" && apt-get -qq update && apt-get -qq install -y chromium >/dev/null; } \
	  || echo "no chromium: the tests that open the report in a browser will be skipped"

# Prometheus' own programs, unpacked beside the others: nothing is installed on the machine, nothing is started.
prometheus: | $(VENV)/bin/pip
	@infra/get-prometheus.sh $(BIN) || echo "no prometheus: metrics are not collected, and the tests that need it are skipped"

clean:
	rm -rf $(VENV) store build
