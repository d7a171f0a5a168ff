# For developers; the README's commands need none of it.
PYTHON = .venv/bin/python
SEED ?= 0
SEEDS ?= 1
KILLS ?= 5

.PHONY: setup check simulate soak integration up bench validate
setup:
	python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e '.[embedded,dev]'
check:
	$(PYTHON) -m ruff format --check . && $(PYTHON) -m ruff check .
	$(PYTHON) -m pytest -q tests/architecture tests/property tables agents_topics
# One seed, or SEEDS of them from SEED on; a failing one is shortened and its events are printed.
simulate:
	$(PYTHON) -m tests.simulation --seed $(SEED) --seeds $(SEEDS)
# Real workers, Kafka and Postgres, killed over and over; the record goes to docs/reliability.
soak:
	$(PYTHON) -m tests.faults.soak --seed $(SEED) --kills $(KILLS)
integration:
	$(PYTHON) -m pytest -q tests/integration tests/faults
up:
	.venv/bin/trueup up
bench:
	$(PYTHON) -m benchmarks.resolver
validate:
	$(PYTHON) -m benchmarks.validation $(SEED) > docs/validation.md
