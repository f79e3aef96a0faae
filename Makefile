# Everything a newcomer needs: `make demo` and `make test` set up what they use.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test torture compare setup lint types contracts unit bench docs lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## Make a small real incident here, record it, ask, replay
	@$(BIN)/sockrec demo

test: setup lint types contracts unit ## Lint, types, import contracts, tests, notebooks

setup: .venv/ready ## Make .venv and install what is missing (Debian packages when root)
	@missing=; \
	for pair in ip:iproute2 ss:iproute2 netstat:net-tools nginx:nginx-light wrk:wrk strace:strace systemd-analyze:systemd setpriv:util-linux chromium:chromium tmux:tmux; do \
		PATH="$$PATH:/usr/sbin" command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y $$missing >/dev/null; \
		else \
			echo "sockrec: install these packages first:$$missing" >&2; exit 1; \
		fi; \
	fi

.venv/ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sockrec: needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv >/dev/null \
			&& rm -rf .venv && $(PYTHON) -m venv .venv; \
		else \
			echo "sockrec: install the package python3-venv first" >&2; exit 1; \
		fi; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock pip
	@$(BIN)/python -m pip install --quiet --constraint requirements.lock --group dev --editable '.[all]'
	@touch .venv/ready

lint: setup ## Lint and format only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Types only
	$(BIN)/mypy

contracts: setup ## Import contracts only
	$(BIN)/lint-imports

unit: setup ## Tests and notebooks only (as root)
	@[ "$$(id -u)" = 0 ] || { echo "sockrec: the tests make namespaces and other users' processes: run them as root" >&2; exit 1; }
	@# What measures moments mostly waits; beside what burns CPU it would measure that.
	$(BIN)/pytest -n 3 --dist worksteal -m moments; moments=$$?; \
	$(BIN)/pytest -n 3 --dist worksteal -m "not moments" && exit $$moments

torture: setup ## Kills, power cuts, damage, full disks, hostile input and load, in their long form (two hours, as root)
	@[ "$$(id -u)" = 0 ] || { echo "sockrec: the tests make namespaces and other users' processes: run them as root" >&2; exit 1; }
	$(BIN)/python -m tests.faults

compare: setup ## Generated hosts next to netstat and ss, a hundred of each kind (half an hour, as root)
	@[ "$$(id -u)" = 0 ] || { echo "sockrec: the tests make namespaces and other users' processes: run them as root" >&2; exit 1; }
	SOCKREC_TORTURE=1 $(BIN)/pytest -n 2 --dist worksteal tests/render tests/cli/test_replay_network.py \
		tests/cli/test_replay_recorded.py tests/cli/test_replay_ss_hosts.py

bench: setup ## Measure every cost, next to that of other tools, into benchmarks/RESULTS.md (a quarter of an hour)
	@$(BIN)/python -m benchmarks

docs: setup ## Build the docs site into site/, to be read from there
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lock: ## Pin anew what `make setup` installs
	rm -rf .venv/fresh && $(PYTHON) -m venv .venv/fresh && .venv/fresh/bin/pip install --quiet --upgrade pip
	.venv/fresh/bin/pip install --quiet --group dev '.[all]'
	{ echo '# What CI installs, made by `make lock`.'; .venv/fresh/bin/pip freeze --all --exclude sockrec --exclude setuptools; } > requirements.lock
	rm -rf .venv/fresh

clean: ## Remove what the targets above made
	rm -rf .venv site .cache/benchmarks .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
