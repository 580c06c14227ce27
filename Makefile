# `make` alone tells what there is. Every target first makes .venv where it is missing or out of date.

BIN := .venv/bin
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

# The lab needs no network once it is installed, and only what .venv holds: no other Python's packages or kernels.
export HF_HUB_OFFLINE := 1
export JUPYTER_PATH := $(CURDIR)/.venv/share/jupyter
export JUPYTER_PREFER_ENV_PATH := 1
unexport MPLBACKEND PYTHONHOME PYTHONPATH

.PHONY: help report test figures lab clean

help:
	@echo "make report   run the eight notebooks; write build/quick/report.pdf, report.html and figures/"
	@echo "make test     all checks: format, lint, types, tests, notebooks"
	@echo "make lab      open the notebooks in JupyterLab"
	@echo "make figures  for maintainers: renew figures/ and the outputs stored in notebooks/"
	@echo "make clean    remove what was built; keeps .venv, your runs and all pictures"
	@echo "PYTHON=...    the Python to make .venv with (3.11 to 3.13; default: python3, or the first that fits)"

report: .venv/.installed
	@$(BIN)/lab7 report

figures: .venv/.installed
	@$(BIN)/python -m benchmarks.figures

lab: .venv/.installed
	@$(BIN)/jupyter lab notebooks

# A process for each core, of one thread each; a notebook stays in one process. What takes longest comes first.
SPREAD := -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder

# Checked on the synthetic data set and our own judge, whatever lies in data/, and without touching runs/: where
# `lab7 data` refuses to render into data/, because it holds other pictures, the tests get a folder of their own.
test: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@rm -rf build/test/quick build/test/runs
	@set -ex; \
	data=data; \
	if [ -e data/checkpoint.pth ] || ! $(BIN)/lab7 data --out data; then \
		data=build/test/data; \
		$(BIN)/lab7 data --out $$data; \
	fi; \
	export LAB7_DATA="$(CURDIR)/$$data" LAB7_RUNS="$(CURDIR)/build/test/runs" LAB7_BUILD="$(CURDIR)/build/test"; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbval $(SPREAD) --durations=10 notebooks tests

clean:
	rm -rf build data/cache .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find lab7 tests notebooks benchmarks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
	@echo "Kept: .venv, figures/, runs/, and data/ with its pictures."

# The stamp is written last: an install that was interrupted is begun anew, and one that is out of date is brought up.
.venv/.installed: pyproject.toml constraints.txt
	@if [ ! -e $@ ] || ! $(BIN)/python -c '$(FITS)' 2>/dev/null; then \
		found=; for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
			if "$$python" -c '$(FITS)' 2>/dev/null; then found=$$python; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "lab7 needs Python 3.11, 3.12 or 3.13; $(or $(PYTHON),python3) is none. Install one, or say make PYTHON=/path/to/python" >&2; \
			exit 1; \
		fi; \
		set -ex; \
		rm -rf .venv; \
		if command -v uv >/dev/null; then uv venv --quiet --seed --python "$$found" .venv; else "$$found" -m venv .venv; fi; \
	fi
	@set -ex; \
	if command -v uv >/dev/null; then \
		uv pip install --python $(BIN)/python -c constraints.txt -e '.[lab,dev]'; \
	else \
		$(BIN)/python -m pip install -c constraints.txt -e '.[lab,dev]'; \
	fi
	@touch $@
