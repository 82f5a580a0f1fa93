# `make help` is the table of contents. What a machine needs: Python 3.11+, git, make.
SHELL := /bin/bash
PYTHON3 ?= python3
STACK ?= native
VENV := .venv/bin
NATIVE := $(VENV)/python -m deploy.native
COMPOSE := docker compose

.DEFAULT_GOAL := help
.PHONY: help demo test up down status logs reset doctor lint format bench docs lock env-services env-dev

help: ## what you can do here
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: up ## set everything up and run the main job: all seven run types on real data
	@$(VENV)/python -m examples.demo

test: env-dev ## set everything up and pass all tests, level by level, on the real parts
	@$(VENV)/python -m tests.levels $(LEVELS)

up: env-services ## start the whole stack and write .runtide/stack.env (STACK=docker: with compose)
ifeq ($(STACK),docker)
	@$(COMPOSE) --profile core up -d --build --wait
else
	@$(NATIVE) up
endif

down: ## stop it; data stays
ifeq ($(STACK),docker)
	@$(COMPOSE) --profile core --profile tools --profile observe down
else
	@$(NATIVE) down
endif

status: ## each part with its state, memory and address
ifeq ($(STACK),docker)
	@$(COMPOSE) ps
else
	@$(NATIVE) status
endif

logs: ## the last lines of each part (PART=kafka for one)
ifeq ($(STACK),docker)
	@$(COMPOSE) logs --tail 50 $(PART)
else
	@$(NATIVE) logs $(PART)
endif

reset: ## stop it and delete its data
ifeq ($(STACK),docker)
	@$(COMPOSE) --profile core --profile tools --profile observe down --volumes
else
	@$(NATIVE) reset
endif

doctor: env-services ## what is missing or wrong, before and after a start
	@$(NATIVE) doctor
	@if [ -f .runtide/stack.env ]; then $(VENV)/runtide doctor; fi

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
