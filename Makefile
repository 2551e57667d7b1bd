# What each target does; README.md has the most used ones without make.
PYTHON ?= python3
SCRIPTS := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
# The build of torch: cu130 is the pinned one of requirements.txt, cu126 is for older drivers, cpu needs no CUDA.
# Without TORCH=... it stays what .venv was made with.
TORCH ?= $(or $(patsubst .venv/torch-%,%,$(wildcard .venv/torch-*)),cu130)
TORCH_INDEX ?= https://download.pytorch.org/whl/$(TORCH)
ifneq ($(words $(TORCH)) $(filter-out cu130 cu126 cpu,$(TORCH)),1 )
$(error TORCH = '$(TORCH)': should be cu130, cu126 or cpu)
endif
# uv where it is installed, but not in the environment that it would have to make anew.
UV := $(filter-out $(CURDIR)/.venv/%,$(shell command -v uv 2>/dev/null))
PIP := $(if $(UV),uv pip install --quiet --python $(SCRIPTS)/python,$(SCRIPTS)/python -m pip install --quiet --disable-pip-version-check)
# The make of macOS looks for programs on this PATH only with a shell that is not its usual one.
SHELL := bash
export PATH := $(CURDIR)/$(SCRIPTS):$(PATH)
PYTEST := python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := all
.PHONY: all laptop oxford test quick torture verify lint extra bench demo docs help

all: .venv/ready  ## set up, run what is out of date, print the test Dice
	dvc repro
	python src/summary.py

laptop: .venv/ready  ## train two narrow networks on the real dataset without a GPU (needs the internet)
	python src/recipe.py laptop

oxford: .venv/ready  ## train both networks at full size on the real dataset (needs the internet and a GPU)
	python src/recipe.py oxford

test: .venv/ready-dev lint  ## lint, then every test but the longest
	$(PYTEST) -m "not torture"

quick: .venv/ready-dev lint  ## lint and the unit tests: what to run after each change
	$(PYTEST) -m "not slow and not pipeline and not torture"

torture: .venv/ready-dev .venv/ready-extra  ## what may go wrong, with the long tests; writes docs/reliability.md
	python -m pytest -rs -m "fault or torture" --reliability=docs/reliability.md

verify: .venv/ready  ## retrain from nothing in a temporary clone and compare every output with the committed ones
	python src/verify.py

lint: .venv/ready-dev  ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy

extra: .venv/ready-extra  ## install what only some need: ONNX, and buckets and SSH as DVC's remotes

bench: .venv/ready-bench  ## what is fast, as ratios measured on this machine
	python benchmarks/run.py

demo: .venv/ready  ## open a page on this machine that finds the pet on any photograph (docs/demo.md)
	python demo/serve.py

docs: .venv/ready  ## write again what in docs/ comes from code: the drawing of the stages, the table of architectures, a picture
	python docs/architectures.py
	python docs/stages.py
	cp -f plots/images/test_sheet.png docs/results.png

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/torch-%:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v < (3, 15) and "Python 3.11 to 3.14 is needed, this is %d.%d: %s; name another: make PYTHON=python3.13" % (v[0], v[1], "the pinned NumPy has no wheels for it" if v >= (3, 15) else "it is too old for this code"))'
	@$(PYTHON) src/shared/driver.py $*
	rm -rf .venv
	$(PYTHON) -m venv .venv $(if $(UV),$$($(PYTHON) -c 'import ensurepip' 2>/dev/null || echo --without-pip))
	touch $@

.venv/ready: requirements.txt requirements-base.txt .venv/torch-$(TORCH)
ifeq ($(TORCH),cu130)
	$(PIP) -r requirements.txt
else
	$(PIP) -r requirements-base.txt
	$(PIP) --index-url $(TORCH_INDEX) $(shell grep -oE '^torch(vision)?==[0-9.]+' requirements.txt)
endif
	touch $@

.venv/ready-dev: .venv/ready requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	touch $@

.venv/ready-extra: .venv/ready requirements-extra.txt
	$(PIP) -r requirements-extra.txt
	touch $@

.venv/ready-bench: .venv/ready benchmarks/requirements.txt
	$(PIP) -r benchmarks/requirements.txt
	touch $@
