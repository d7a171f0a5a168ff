# For developers; the README's commands need none of it.
PYTHON = .venv/bin/python
SEED ?= 0
SEEDS ?= 1
KILLS ?= 5
EXAMPLES ?= 3000

.PHONY: setup check hunt simulate soak integration up bench validate validate-demo
setup:
	python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e '.[embedded,dev]'
check:
	$(PYTHON) -m ruff format --check . && $(PYTHON) -m ruff check .
	$(PYTHON) -m pytest -q tests/architecture tests/property tables agents_topics
# Property tests with EXAMPLES where 100 are usual, at a random seed or at SEED; what fails is shrunk
# and printed with the line that tries it again.
hunt: SEED := $(shell date +%s)
hunt:
	HUNT_EXAMPLES=$(EXAMPLES) $(PYTHON) -m pytest -q -m "hypothesis and not soak" --timeout 0 \
		--dist worksteal --hypothesis-seed $(SEED)
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
# The pages' seed. THROUGH=kafka: real workers, Kafka and Postgres in the place of the core in memory.
validate: SEED = 1
validate:
ifeq ($(THROUGH),kafka)
	$(PYTHON) -m benchmarks.validation_kafka $(SEED) > docs/validation-kafka.md
else
	$(PYTHON) -m benchmarks.validation $(SEED) > docs/validation.md
endif
# The demo's agents told apart over its seeds 1 to 20, without servers.
validate-demo:
	$(PYTHON) -m benchmarks.demo_seeds
