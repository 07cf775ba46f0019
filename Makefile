# Everything is done by `course …` (course/cli.py); this only brings a Python to it.
# Usage: make lab [PORT=9000] [BROWSER=none] [PYTHON=python3.12]     make test [ARGS="-k caching"]

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; exit; }; done; \
	command -v python3 || command -v python)
COURSE = $(or $(PYTHON),$(error There is no Python: install Python 3.11 or newer, then run the same command again)) \
	-I course/setup_environment.py

.DEFAULT_GOAL := help
.PHONY: help lab test sync bench lint warm clean

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

lab: ## open the workbook in JupyterLab (the first time: install it)
	@$(COURSE) lab $(if $(PORT),--port $(PORT))

test: ## run all tests
	@$(COURSE) test $(ARGS)

sync: ## write every notebook anew from its .py
	@$(COURSE) sync

bench: ## measure against the peers
	@$(COURSE) bench $(ARGS)

lint: ## check style and types
	@$(COURSE) lint

warm: ## install and compile, without opening anything
	@$(COURSE) warm

clean: ## remove what the commands above made, .venv too
	@rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find course widgets tests -name __pycache__ -prune -exec rm -rf {} +
