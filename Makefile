# The plain commands behind each target stand in README.md.
PYTHON ?= python3
SCRIPTS := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
PIP := $(SCRIPTS)/python -m pip install --quiet --disable-pip-version-check
export PATH := $(CURDIR)/$(SCRIPTS):$(PATH)
PYTEST := python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := all
.PHONY: all laptop oxford test quick torture verify lint bench docs help

all: .venv/ready  ## set up, run what is out of date, print the test Dice
	dvc repro
	python src/summary.py

laptop: .venv/ready  ## train two narrow networks on the real dataset without a GPU (needs a network)
	python src/recipe.py laptop

oxford: .venv/ready  ## train both networks at full size on the real dataset (needs a network and a GPU)
	python src/recipe.py oxford

test: .venv/ready-dev lint  ## lint, then every test but the longest
	$(PYTEST) -m "not torture"

quick: .venv/ready-dev lint  ## lint and the unit tests: what to run after each change
	$(PYTEST) -m "not slow and not pipeline and not torture"

torture: .venv/ready-dev  ## what may go wrong, with the long tests; writes docs/reliability.md
	python -m pytest -m "fault or torture" --reliability=docs/reliability.md

verify: .venv/ready  ## retrain from nothing in a temporary clone and compare every output with the committed ones
	python src/verify.py

lint: .venv/ready-dev  ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy

bench: .venv/ready-bench  ## what is fast, as ratios measured on this machine
	python benchmarks/run.py

docs: .venv/ready  ## write again what in docs/ comes from code: the drawing of the stages, the table of architectures, a picture
	python docs/architectures.py
	python docs/stages.py
	cp -f plots/images/test_sheet.png docs/results.png

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/ready: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	touch $@

.venv/ready-dev: .venv/ready requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	touch $@

.venv/ready-bench: .venv/ready benchmarks/requirements.txt
	$(PIP) -r benchmarks/requirements.txt
	touch $@
