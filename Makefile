# Two commands on a fresh machine: `make demo` and `make test`. Each prepares its own virtual environment.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

export OMP_NUM_THREADS = 1

.PHONY: demo test check lint format golden pictures bench docs clean

# Plans GPT-2 for two unlike office machines, writes the distributed module, trains it on local processes beside the unsplit model.
demo: $(VENV)/.demo
	@mkdir -p out
	$(BIN)/autopart plan examples/models/gpt2.py --devices examples/clusters/cpus.yaml --batch-size 48 -o out/plan.json
	$(BIN)/autopart compile out/plan.json -o out/gpt2
	$(BIN)/autopart run out/plan.json --steps 5 --compare

# Two files of tests at a time; some of them start up to eight processes.
test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.lint lint test

lint: $(VENV)/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: $(VENV)/.test
	$(BIN)/python -m pytest tests/golden --update-golden

# Those of the documentation: plans two models, draws them, photographs their reports in a Chromium. Some minutes.
pictures: $(VENV)/.test
	PYTHONPATH=. $(BIN)/python docs/make_pictures.py

# The site goes to out/site; a dead link fails it.
docs: $(VENV)/.docs
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) out

# torch comes first and pinned: a looser request would fetch the newest build with its GPU libraries.
$(VENV)/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[examples]'
	touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	touch $@

$(VENV)/.docs: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

$(VENV)/.lint: $(VENV)/.test
	touch $@
