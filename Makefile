# Two commands: `make quickstart` and `make test`. Each makes its own environment below .venv and can be repeated.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-fast lint clean

quickstart: $(VENV)/engine.done
	$(BIN)/raytrain run recipes/quickstart.yaml

test: $(VENV)/dev.done lint
	$(BIN)/python -m pytest

test-fast: $(VENV)/dev.done
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# One marker a set of packages: nothing is asked of the network when nothing changed.
$(VENV)/%.done: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "installing raytrain[$*] into $(VENV) (a few minutes the first time)"
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) store build
