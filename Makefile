# make install · demo · test · fast · lint · types · bench · doctor · golden · clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One thread per process: two busy processes with two threads each fight badly.
ENV := OMP_WAIT_POLICY=PASSIVE NO_ALBUMENTATIONS_UPDATE=1
PYTEST := $(ENV) OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: install demo test fast lint types contracts bench doctor golden clean

install: $(READY)               ## the environment alone

demo: $(READY)                  ## real nuclei from seed to export, and a report to look at
	$(ENV) $(BIN)/synthgen run nuclei

test: lint types contracts      ## everything that CI asks for
	$(PYTEST) -n 2 --dist loadfile

fast: $(READY)                  ## the tests that take less than a minute together
	$(PYTEST) -n 2 --dist worksteal -q -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy synthgen generators trainers extractors functions

contracts: $(READY)             ## imports run one way
	$(BIN)/lint-imports

bench: $(READY)
	$(ENV) OMP_NUM_THREADS=1 $(BIN)/python benchmarks/compose.py --memory

doctor: $(READY)
	$(BIN)/synthgen doctor

golden: $(READY)                ## write the golden files again; look at the diff before committing it
	SYNTHGEN_GOLDEN=write $(PYTEST) -q -m "not slow"

# torch first and pinned, so that no resolver thinks of a build that carries gigabytes for another device.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "synthgen needs Python 3.11 or newer; say make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): about 2 GB, one to five minutes"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis runs
