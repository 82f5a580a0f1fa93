# `make help` is the table of contents. What a machine needs: Python 3.11+, git, make.
SHELL := /bin/bash
PYTHON3 ?= python3
STACK ?= native
VENV := .venv/bin
STACKED := $(PYTHON3) -m deploy.$(STACK)

.DEFAULT_GOAL := help
.PHONY: help demo diamond test chaos up down status logs reset doctor lint format bench docs lock env-services env-dev

help: ## what you can do here
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: up env-services ## set everything up and run the main job: all seven run types on real data
	@$(VENV)/python -m examples.demo

diamond: up env-services ## a join on three days: it runs exactly once per change, and says on which versions
	@$(VENV)/python -m examples.diamond

test: env-dev ## set everything up and pass all tests, level by level, on the real parts
	@$(VENV)/python -m tests.levels $(LEVELS)

chaos: env-dev ## faults under load on a stack of its own, then every invariant (SEED=1 repeats one, LONG=1: 200 faults)
	@LONG=$(LONG) SEED=$(SEED) $(VENV)/python -m tests.chaos

up: ## start the whole stack and write .runtide/stack.env (STACK=docker: with compose)
	@$(STACKED) up

down: ## stop it; data stays
	@$(STACKED) down

status: ## each part with its state, memory and address
	@$(STACKED) status

logs: ## the last lines of each part (PART=kafka for one)
	@$(STACKED) logs $(PART)

reset: ## stop it and delete its data
	@$(STACKED) reset

doctor: ## what is missing or wrong, before and after a start
	@$(STACKED) doctor
	@if [ -f .runtide/stack.env ] && [ -x $(VENV)/runtide ]; then $(VENV)/runtide doctor; fi

lint: env-dev ## every check: format, types, direction of imports, generated files
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy
	$(VENV)/lint-imports
	$(VENV)/python schemas/generate.py --check
	$(VENV)/python schemas/compatibility.py
	$(VENV)/python docs/generate.py --check

format: env-dev ## bring the sources into their format
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

bench: env-dev ## each goal of performance with its floor, both measured in one run
	@$(VENV)/python -m benchmarks $(GOALS)

docs: env-dev ## generate what is generated: JSON Schema, AsyncAPI, .env.example
	@$(VENV)/python schemas/generate.py
	@$(VENV)/python docs/generate.py

lock: env-dev ## resolve requirements/*.in anew, with hashes
	@uv=$$($(VENV)/python -c "from deploy.native import bootstrap; print(bootstrap.uv())"); \
	for name in services dev native prefect; do \
	  $$uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	    $$([ $$name = dev ] && echo -c requirements/services.txt) requirements/$$name.in -o requirements/$$name.txt; \
	done

env-services:
	@$(PYTHON3) deploy/native/bootstrap.py services

env-dev:
	@$(PYTHON3) deploy/native/bootstrap.py dev
