# make demo   everything once: install, simulate, train, score, stream, report (runs/demo/report.html)
# make test   install, lint, types, docs, tests
# make docs   the documentation site, site/index.html

PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do $$p -c \
	'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready
KEYFRAME := $(wildcard ../shared/data/nuscenes_keyframe)

.PHONY: demo test lint docs clean

demo: $(READY)
	$(BIN)/remembev demo runs/demo $(if $(KEYFRAME),--keyframe $(KEYFRAME))

test: lint docs
	$(BIN)/pytest -n 2 -q

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.10, 3.11 or 3.12 found: set PYTHON=/path/to/python3"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[all]'
	touch $@

clean:
	rm -rf .venv runs site
