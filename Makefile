# Each target calls "python -m course", which also works without make.
PYTHON ?= python3
# PYTHON is the path of a program, perhaps with a space, or a command such as "uv run python".
VARIABLES = PYTHON STEP PORT PART TRACE DJANGO ONLY FROM TO WORKERS SERVER SHARDS FILE RUNS PARTS FIX \
    TAKE ACCEPT DRY_RUN RIGHT
# make takes any variable, so a misspelt DRYRUN=1 would not be a dry run.
GIVEN = $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
$(foreach name,$(filter-out $(VARIABLES),$(GIVEN)), \
    $(error There is no $(name)=; the names are $(strip $(VARIABLES))))
COURSE = @$(if $(shell command -v "$(PYTHON)"),"$(PYTHON)",$(PYTHON)) -m course

.PHONY: help run test-all test diff stack wire bench redgreen guarantees docs scaling drift propagate lint upgrade

help:
	$(COURSE)

run:
	$(COURSE) run $(STEP) $(if $(PORT),--port=$(PORT)) $(if $(PART),--part=$(PART)) \
	    $(if $(filter-out 0,$(TRACE)),"--trace=$(TRACE)")

test-all:
	$(COURSE) test-all $(if $(DJANGO),--django=$(DJANGO))

test:
	$(COURSE) test $(STEP) $(if $(PART),--part=$(PART)) $(if $(ONLY),--only=$(ONLY))

diff:
	$(COURSE) diff $(FROM) $(TO) $(if $(PART),--part=$(PART)) $(if $(ONLY),"--only=$(ONLY)")

stack:
	$(COURSE) stack $(if $(PORT),--port=$(PORT)) $(if $(WORKERS),--workers=$(WORKERS)) \
	    $(if $(SERVER),--server=$(SERVER)) $(if $(SHARDS),--shards=$(SHARDS)) \
	    $(if $(PART),--part=$(PART)) $(if $(filter-out 0,$(TRACE)),"--trace=$(TRACE)")

wire:
	$(COURSE) wire $(if $(FILE),"$(FILE)")

bench:
	$(COURSE) bench $(if $(RUNS),--runs=$(RUNS)) $(if $(filter-out 0,$(PARTS)),--parts)

redgreen:
	$(COURSE) redgreen $(STEP) $(if $(PART),--part=$(PART)) $(if $(FIX),--fix=$(FIX))

docs:
	$(COURSE) docs

guarantees:
	$(COURSE) guarantees

scaling:
	$(COURSE) scaling $(if $(filter-out 0,$(TAKE)),--take)

drift:
	$(COURSE) drift $(if $(filter-out 0,$(ACCEPT)),--accept)

propagate:
	$(COURSE) propagate $(FROM) $(if $(PART),--part=$(PART)) \
	    $(if $(filter-out 0,$(DRY_RUN)),--dry-run) $(if $(RIGHT),"--right=$(RIGHT)")

lint:
	$(COURSE) lint

upgrade:
	$(COURSE) upgrade $(if $(ONLY),"--only=$(ONLY)")
