# Everything about this project starts here: `make help`.
#
# SET=pinned (the default) or SET=modern picks one of the two sets of dependencies in constraints/; each lives in an
# environment folder of its own, made when it is first needed and again when constraints/ or pyproject.toml change.

SET    ?= pinned
PYTHON ?= python3
PIP_VERSION := 26.3

ifeq ($(filter $(SET),pinned modern),)
$(error SET is "$(SET)"; expected pinned or modern)
endif

VENV  := $(if $(filter pinned,$(SET)),.venv,.venv-$(SET))
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP   := $(BIN)/python -m pip --disable-pip-version-check --no-input
# -qq: a progress line for each of a hundred packages helps nobody; errors are still shown.
INSTALL := $(PIP) install -qq

# Two test processes for two cores (tests/conftest.py gives each one thread). Each begins with half of the tests, so
# that a file's stay together and share what they train; whoever is done first takes over from the other.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow coverage lint format types portable docs bench clean

help:  ## show this list
	@echo "make TARGET [SET=pinned|modern]    (now: SET=$(SET), environment $(VENV))"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

setup: $(STAMP)  ## install the environment, nothing else

demo: $(STAMP)  ## run the main job: a controller for 3 agents, then one policy for each
	$(BIN)/cesma run spread-3

test: $(STAMP)  ## run the tests (ARGS="-k spaces" passes options on to pytest)
	$(PYTEST) $(ARGS)

test-slow: $(STAMP)  ## run the tests that train for minutes
	$(PYTEST) -m slow $(ARGS)

coverage: $(STAMP)  ## run the tests and measure the lines that they run; below 95% is an error
	$(PYTEST) --cov --cov-report=term $(ARGS)

lint: $(STAMP)  ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)  ## rewrite the files in the project's format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

types: $(STAMP)  ## check types strictly
	$(BIN)/mypy --cache-dir .mypy_cache/$(SET)

portable: $(STAMP)  ## check types for macOS and Windows, whose Python lacks parts of Linux's
	$(BIN)/mypy --cache-dir .mypy_cache/darwin --platform darwin cesma_sb3
	$(BIN)/mypy --cache-dir .mypy_cache/win32 --platform win32 cesma_sb3

docs: .venv-docs/.installed  ## build the site in build/site, API included; a warning is an error
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --quiet

bench: $(STAMP)  ## make the published numbers again
	$(BIN)/python -m benchmarks $(ARGS)

clean:  ## remove the environments, caches and built files; runs/ is left alone
	rm -rf .venv .venv-modern .venv-docs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps, each written last so that an interrupted install is done again: other pins make a fresh environment, a
# changed pyproject.toml only asks pip for what is missing.
$(VENV)/.created: $(wildcard constraints/$(SET)*.txt)
	$(fresh-environment)
	@touch $@

.venv/.installed: .venv/.created pyproject.toml
	@$(INSTALL) -c constraints/pinned.txt -e '.[test,lint,smax,mujoco,onnx,hub,postgres,ray,report,video,lbf,rware,vmas]'
	@touch $@

# imitation's metadata asks for gymnasium 0.29 and stable-baselines3 2.2 although it runs on today's releases (the
# tests show it). It is installed without its dependencies, and so is this package, which depends on it.
.venv-modern/.installed: .venv-modern/.created pyproject.toml
	@$(INSTALL) -r constraints/modern.txt
	@$(INSTALL) --no-deps -r constraints/modern-no-deps.txt -e .
	@touch $@

.venv-docs/.installed: constraints/docs.txt
	@$(PYTHON) -m venv --clear .venv-docs
	@.venv-docs/bin/python -m pip --disable-pip-version-check --no-input install -qq -r constraints/docs.txt
	@touch $@

define fresh-environment
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "$(PYTHON) is not Python 3.11 or newer, which constraints/ needs; name one that is: make PYTHON=python3.12 ..." >&2; exit 1; }
@echo "installing set $(SET) into $(VENV): one to three minutes the first time"
@$(PYTHON) -m venv --clear $(VENV)
@$(INSTALL) pip==$(PIP_VERSION)
endef
