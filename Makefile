# For developers; the README's commands need none of it.
PYTHON = .venv/bin/python
SEED ?= 0
SEEDS ?= 1

.PHONY: setup check simulate soak integration up bench
setup:
	python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e '.[embedded,dev]'
check:
	$(PYTHON) -m ruff format --check . && $(PYTHON) -m ruff check .
	$(PYTHON) -m pytest -q tests/architecture tests/property tables agents_topics
# One seed, or SEEDS of them from SEED on; a failing one is shortened and its events are printed.
simulate:
	$(PYTHON) -m tests.simulation --seed $(SEED) --seeds $(SEEDS)
soak:
	$(PYTHON) -m tests.simulation --seed $(SEED) --seeds 20000
integration:
	$(PYTHON) -m pytest -q tests/integration tests/faults
up:
	.venv/bin/trueup up
bench:
	$(PYTHON) -m benchmarks.resolver
