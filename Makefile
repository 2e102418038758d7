# Tandem's set-up and checks; `make help` lists the targets. Everything is incremental: what is installed is reused
# until pyproject.toml, constraints.txt or the engine's build script change.
#
# `pip install torch` brings the CUDA build on Linux. A machine without a GPU saves gigabytes with the CPU build:
#   make run TORCH_INDEX=https://download.pytorch.org/whl/cpu
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=
EXTRAS := lab2d,football,dev
VENV := .venv
BIN := $(VENV)/bin
hash = $(shell cat $(1) 2>/dev/null | sha256sum | cut -c1-16)
PROJECT_STAMP := $(VENV)/.project-$(call hash,pyproject.toml constraints.txt)
ENGINE_STAMP := $(VENV)/.engine-$(call hash,envs/football/build_engine.sh)

# What the football engine is compiled and linked with (Debian 12, Ubuntu 22.04 and later).
PACKAGES := build-essential cmake libgl1-mesa-dev libegl-dev libsdl2-dev libsdl2-image-dev libsdl2-ttf-dev \
  libsdl2-gfx-dev libboost-thread-dev libboost-system-dev libboost-filesystem-dev libboost-python-dev python3-dev

.PHONY: help system venv engine setup run check format test test-fast clean distclean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

run: setup ## install everything, then train and evaluate both teams
	@$(BIN)/tandem quickstart

test: setup ## the whole test suite, game engines and Ray included
	@$(BIN)/python -m pytest -q -n 2

test-fast: setup ## the tests that take seconds
	@$(BIN)/python -m pytest -q -n 2 -m "not slow and not ray and not gpu"

check: setup ## lint, formatting and types
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m pyright

format: setup ## mend lint and formatting
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

setup: $(ENGINE_STAMP) ## system packages, virtual environment, project, football engine

engine: $(ENGINE_STAMP) ## the football engine only (a wheel built before is reused)

venv: $(PROJECT_STAMP) ## the project without the football engine

$(ENGINE_STAMP): | $(PROJECT_STAMP)
	@bash envs/football/build_engine.sh $(BIN)/python
	@rm -f $(VENV)/.engine-*
	@touch $@

$(PROJECT_STAMP):
	@$(MAKE) system
	@[ -x $(BIN)/python ] || { echo "setup: making the virtual environment $(VENV)"; "$(PYTHON)" -m venv $(VENV); }
	@echo "setup: installing the project, about 2 to 5 minutes the first time"
ifneq ($(TORCH_INDEX),)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --index-url $(TORCH_INDEX) torch
endif
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@rm -f $(VENV)/.project-*
	@touch $@

system: ## what apt has to install; asks for sudo only when something is missing
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "setup: Python 3.11 or newer is needed, not '$(PYTHON)'; name one with make PYTHON=..." >&2; exit 1; }
	@command -v dpkg-query >/dev/null || \
	  { echo "setup: not a Debian or Ubuntu system; the football engine needs the equivalents of: $(PACKAGES)"; exit 0; }; \
	missing=(); \
	for package in $(PACKAGES); do \
	  [[ $$(dpkg-query -W -f '$${Status}' $$package 2>/dev/null) == *"ok installed" ]] || missing+=($$package); \
	done; \
	"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
	  missing+=($$("$(PYTHON)" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')); \
	[ $${#missing[@]} -gt 0 ] || exit 0; \
	echo "setup: installing system packages: $${missing[*]}"; \
	as_root=(); \
	if [ "$$(id -u)" != 0 ]; then \
	  command -v sudo >/dev/null || { echo "setup: ask an administrator to run: apt-get install $${missing[*]}" >&2; exit 1; }; \
	  as_root=(sudo); \
	fi; \
	$${as_root[@]+"$${as_root[@]}"} apt-get update -qq; \
	$${as_root[@]+"$${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends $${missing[*]} >/dev/null

clean: ## remove caches and build leftovers
	@rm -rf build .pytest_cache .ruff_cache *.egg-info
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## also remove the virtual environment (runs and the engine's wheel stay)
	@rm -rf $(VENV)
