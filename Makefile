# Thin: every target is one line over scripts/ or the command. `make help` lists them; ARGS="..." passes options on.
.DEFAULT_GOAL := help
.PHONY: help setup run check test bench campaign lock reference
ARGS ?=

help: ## what there is
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## create .venv and install the locked packages (does nothing when nothing changed)
	@scripts/setup

run: setup ## start Atom with everything it needs and do the demo task
	@exec .venv/bin/atom up --demo $(ARGS)

check: setup ## format, lint, types, imports, budgets, migrations, docs, secrets, shell
	@scripts/check $(ARGS)

test: setup ## make check, then all tests
	@scripts/check
	@scripts/test-prerequisites
	@exec .venv/bin/python -m pytest $(ARGS)

bench: setup ## measure: a table here, JSON in build/bench
	@exec .venv/bin/python -m scripts.house.bench $(ARGS)

campaign: setup ## all tests with full volumes and planted canaries, seeds printed; goes on where it was interrupted
	@exec .venv/bin/python -m scripts.house.campaign $(ARGS)

reference: setup ## write docs/reference from the code
	@scripts/reference

lock: ## write requirements/*.txt anew
	@scripts/lock
