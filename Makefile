# make demo     a bare clone -> dataset, training, evaluation, pictures
# make test     installs what the tests need and runs them
# make sample   futures from the weights that the repository ships: runs/samples/
# make explore  pages to look around in what these have learned: runs/explore/
# make test-slow    trainings to a level, two to three hours
# make test-browser explore's page in Chromium, which must be installed: a minute
# make test-crash   kills programs fifty times, and compares: half an hour
# make docs     docs/api.md from the docstrings, docs/tour.ipynb run anew: minutes
# make test-docs    all commands and snippets of docs/, on tiny runs
# make test-wheel   a wheel in an empty environment
# make lint, make clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo
CONFIG := configs/narratives.py:preset=small,narrative=color_reaction
.DEFAULT_GOAL := help
export TF_CPP_MIN_LOG_LEVEL := 2

.PHONY: help demo test test-slow test-browser test-crash test-docs test-wheel \
	sample explore docs lint clean

help:
	@sed -n 's/^# make/make/p' Makefile

$(VENV)/installed: setup.py requirements.txt
	@echo '== Installing into $(VENV): about 2 minutes'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'error: $(PYTHON) is older than 3.11; try make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo 'error: no venv module; on Debian: apt install python3-venv'; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@touch $@

demo: $(VENV)/installed
	@echo '== 1/4 Dataset: Color Reaction at 32x32, 100,000 videos: about 1 minute'
	$(BIN)/python datasets/build.py narratives --config=color_reaction_32
	@echo '== 2/4 Training on the CPU: about 10 minutes; the same command resumes'
	$(BIN)/python experiments/train.py --config=$(CONFIG) \
	  --config.num_steps=4000 --config.kl_weight.boundaries=0,0.35,0.7 \
	  --config.learning_rate.boundaries=0,0.005,1,1,1 \
	  --config.pixel_variance.boundaries=0,0.45,0.75,1,1 \
	  --workdir=$(DEMO)
	@echo '== 3/4 Evaluation on the test split: about 2 minutes'
	$(BIN)/python experiments/evaluate.py --workdir=$(DEMO) --step=latest \
	  --num_scenes=100 --num_samples=30
	@echo '== 4/4 Pictures: half a minute'
	$(BIN)/python experiments/sample.py --workdir=$(DEMO) --step=latest \
	  --scenes=0:3 --out=$(DEMO)/futures.gif
	$(BIN)/python experiments/sample.py --workdir=$(DEMO) --step=latest \
	  --scenes=0:3 --out=$(DEMO)/futures.png
	@echo 'Look at $(DEMO)/futures.gif, $(DEMO)/futures.png and $(DEMO)/eval/samples.png;'
	@echo 'the numbers are in $(DEMO)/eval/metrics.json.'

test: $(VENV)/installed
	$(BIN)/python -m pytest -q --numprocesses=auto --dist=loadfile \
	  --no-loadscope-reorder --durations=5

test-slow: $(VENV)/installed
	XLA_FLAGS= $(BIN)/python -m pytest -q -m slow --durations=0

test-browser: $(VENV)/installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .[browser]
	$(BIN)/python -m pytest -q -m slow -rs tests/figures/test_explorer_page.py

test-crash: $(VENV)/installed
	$(BIN)/python -m pytest -q -s -m crash --durations=0 tests/crash

test-docs: $(VENV)/installed
	$(BIN)/python -m pytest -q -m docs tests/experiments/test_docs.py

test-wheel: $(VENV)/installed
	$(BIN)/python -m pytest -q -m wheel tests/test_wheel.py

sample: $(VENV)/installed
	@draw() { for suffix in png gif; do \
	    $(BIN)/python experiments/sample.py --workdir=$$1 --source=simulator \
	      --scenes=0:3 --out=runs/samples/$$1.$$suffix || return 1; \
	  done; }; \
	draw color_reaction & first=$$!; \
	draw traveling_salesman & second=$$!; \
	draw dice && wait $$first && wait $$second

explore: $(VENV)/installed
	@for name in color_reaction traveling_salesman dice; do \
	  $(BIN)/python experiments/explore.py --workdir=$$name --source=simulator \
	    --out=runs/explore/$$name.html || exit 1; \
	done

docs: $(VENV)/installed
	$(BIN)/python docs/api.py
	$(BIN)/python -m pip install -q -e '.[notebook]'
	$(BIN)/python docs/tour.py

lint: $(VENV)/installed
	$(BIN)/python -m pip install -q ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) .cache .pytest_cache .hypothesis
