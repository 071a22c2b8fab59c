# The two commands of the README are `make run` and `make test`; both set up what they need.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

empty :=
comma := ,
space := $(empty) $(empty)
COVERED_WHOLE := $(subst $(space),$(comma),$(addprefix sagakeep/,machine.py transitions.py changes.py \
	course.py runtime/frame.py runtime/segment.py runtime/journal_*.py))

.PHONY: run test check lint types cover fuzz rules rules-tools ui-tools ui-pictures bench bench-all soak soak-tools clean setup

run: setup
	$(BIN)/python -m sagakeep serve --demo

# A process for each core; the tests of a file stay together.
# `make test TESTFLAGS="-n 0 -k pivot"` has one process.
test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile $(TESTFLAGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

check: lint types rules ui-tools cover fuzz

# What is shipped for Prometheus, by Prometheus' own tool.
rules: rules-tools
	cd ops/prometheus && promtool check rules sagakeep-alerts.yml && promtool test rules sagakeep-alerts-test.yml

rules-tools:
	@command -v promtool >/dev/null \
		|| { apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends prometheus; } >/dev/null

# Branch coverage: 95 % of all, and 100 % of what decides and what is durable.
cover: setup
	@$(MAKE) --no-print-directory test TESTFLAGS="--cov --cov-branch \
		--cov-report=term-missing:skip-covered --cov-fail-under=95"
	@$(BIN)/python -m coverage report --include='$(COVERED_WHOLE)' --fail-under=100 >$(VENV)/covered.txt 2>&1 \
		|| { cat $(VENV)/covered.txt; exit 1; }

# Rubbish for the HTTP edge, over sockets and by its own OpenAPI document: more than 10,000 requests of a real server.
fuzz: setup
	PYTHONPATH=tests $(BIN)/python -m fuzz raw --requests 10000 --seed 20261127 --json
	PYTHONPATH=tests $(BIN)/python -m fuzz contract --requests 1500 --seed 20261127 --json

# Debian's Chromium, in which the tests look at the dashboard; without it they say so and are skipped.
ui-tools:
	@command -v chromium >/dev/null \
		|| { apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends chromium; } >/dev/null

# The pictures of docs/ui, taken anew.
ui-pictures: setup ui-tools
	@command -v pngquant >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends pngquant >/dev/null
	PYTHONPATH=tests $(BIN)/python -m ui_pictures

bench: setup
	$(BIN)/python -m bench engine --json

# Everything that can be measured, one after another: two hours on a quiet machine. Writes bench/results and bench/README.md.
bench-all: setup
	$(BIN)/python -m bench all

# Long campaigns, one after another; each appends a row to docs/reliability/ledger.md. `make soak SCALE=0.1`: a tenth of each.
SCALE ?= 1

soak: setup soak-tools
	PYTHONPATH=tests:. $(BIN)/python -m blackbox.soak --scale $(SCALE)

# Debian's strace and libfaketime, for the campaigns that need them; without them those are passed over.
soak-tools:
	@command -v strace >/dev/null && ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 \
		|| { apt-get update --quiet=2 && apt-get install --yes --quiet=2 strace libfaketime; } >/dev/null 2>&1 || true

setup: $(VENV)/.stamp

$(VENV)/.stamp: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
