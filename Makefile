# One virtual environment serves every target and is reused; `make clean` removes it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check format bench bench-full clean

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "CLaRE needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(READY)  ## draw 64 pictures, extract them with tiny models, train and test a head, report
	rm -rf demo
	$(BIN)/clare draw demo/pictures --count 64
	$(BIN)/clare extract --real demo/pictures/real --fake toy=demo/pictures/fake \
		--backbone tiny --store demo/features.zarr
	$(BIN)/clare store info demo/features.zarr
	$(BIN)/clare store verify demo/features.zarr
	$(BIN)/clare store stats demo/features.zarr
	$(BIN)/clare train-head --store demo/features.zarr --train toy --reals real \
		--fusion cross_attn --out demo/run
	$(BIN)/clare evaluate demo/run --baselines
	$(BIN)/clare predict demo/run demo/pictures/fake/0000.jpg --explain demo/explained
	$(BIN)/clare report demo/run --out demo/report.html
	@echo "Open demo/report.html in a browser; more pictures: demo/explained/*.png"

test: $(READY)  ## the whole suite: offline, on a CPU
	$(BIN)/python -m pytest

check: $(READY)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## ratios, measured interleaved in one run
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/extraction.py
	$(BIN)/python benchmarks/fusion.py
	$(BIN)/python benchmarks/prompts.py
	$(BIN)/python benchmarks/training.py

bench-full: $(READY)  ## full-size random weights
	$(BIN)/python benchmarks/full.py

clean:
	rm -rf $(VENV) demo build *.egg-info
