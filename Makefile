# Everything a newcomer needs. Each target first makes .venv ready, which takes a second when it is.
WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 .venv/bin/python -m pytest

.PHONY: help setup quickstart test lint

help:
	@echo 'make quickstart   install what is needed, then train a small model on real text and report on it'
	@echo 'make test         install what is needed, then run all tests'
	@echo 'make lint         check the style of the Python sources'
	@echo 'make setup        only install what is needed'

setup:
	@.ci/setup

quickstart: setup
	examples/quickstart/run.sh

# Tests that start MPI processes fill the cores by themselves, so they run one after the other.
test: setup
	$(PYTEST) -n $(WORKERS) -m "not mpi"
	$(PYTEST) -m mpi

lint: setup
	.venv/bin/ruff check
