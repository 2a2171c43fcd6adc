# Two commands: `make demo` shows what sfumato does, `make test` proves that it works. Both set themselves up in .venv.

PYTHON ?= python3
BIN := .venv/bin

# Idle threads soon sleep, instead of keeping the cores from other jobs (see benchmarks/idle_threads.py).
export GOMP_SPINCOUNT := 2000

.PHONY: demo test test-all docs clean

demo: .venv/.installed
	$(BIN)/sfumato train digits --out demo/run
	rm -rf demo/samples
	$(BIN)/sfumato sample demo/run --count 80 --out demo/samples
	$(BIN)/sfumato explain demo/run --out demo/explained
	$(BIN)/python examples/recognise.py demo/run
	@echo "Look at demo/samples/grid.png, demo/explained/*.png and demo/run/samples/*.png"

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist loadfile --durations 15 -rfEs -m "not slow"

test-all: test
	$(BIN)/pytest --numprocesses 2 --dist loadfile --durations 15 -rfEs -m slow

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[demo]"
	touch $@

.venv/.installed-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@ .venv/.installed .venv/.installed-docs

docs: .venv/.installed-docs
	$(BIN)/sphinx-build --fail-on-warning --quiet docs site
	@echo "Open site/index.html"

.venv/.installed-docs: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@ .venv/.installed

clean:
	rm -rf .venv demo site
