# make run    start the daemon on http://127.0.0.1:3000, storing in a file here
# make test   lint, type check and the whole test suite
# make soak   the long form of some tests: 200 kills, 100 power cuts, two fuzzes, a mixed day, and the
#             page for ten minutes
# make deploy-test  as root on Debian: a machine from deploy/cloud-init.yaml, and the image's files
# make demo   send realistic events to a running daemon
# make bench  measure what it costs to store and to ask; bench-feed: to tell followers;
#             bench-couchdb: to have a CouchDB behind it
# make clean  remove what the other targets made; never a database

PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
POUCHDB := 4.2.0
AXE := 4.14.1
BUILD_FILES := setup.py pyproject.toml kpiggybank/__init__.py

.PHONY: run test soak deploy-test demo bench bench-feed bench-couchdb clean
.DELETE_ON_ERROR:

# The store that needs no set-up, unless the caller's environment names another. `exec`: the daemon
# takes the shell's place, so that a signal reaches it.
run: export DB_BACKEND ?= sqlite
run: $(VENV)/installed
	exec $(BIN)/twistd -n --pidfile= kpiggybank

test: $(VENV)/installed-dev $(VENV)/pouchdb/installed $(VENV)/axe/installed
	@command -v chromium >/dev/null || echo "There is no chromium: the tests of the page are skipped"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

soak: export KPIGGYBANK_SOAK = 1
soak: $(VENV)/installed-dev $(VENV)/axe/installed
	$(BIN)/python -m pytest -s tests/integration/test_kill.py \
	    tests/integration/test_power_cut.py tests/integration/test_thin_disk.py \
	    tests/integration/test_fuzz.py tests/integration/test_mixed_day.py \
	    tests/integration/test_schemathesis.py tests/integration/test_page_load.py

deploy-test: export KPIGGYBANK_DEPLOY_TEST = 1
deploy-test: export KPIGGYBANK_DEMAND_DEPLOY_TOOLS = 1
deploy-test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -v tests/integration/test_machines.py

demo: $(VENV)/installed
	exec $(BIN)/python -m kpiggybank.demo

bench: $(VENV)/installed
	exec $(BIN)/python -m benchmarks.bench

bench-feed: $(VENV)/installed
	exec $(BIN)/python -m benchmarks.feed

bench-couchdb: $(VENV)/installed $(VENV)/pouchdb/installed
	exec $(BIN)/python -m benchmarks.couchdb

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis _trial_temp*
	rm -f twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps, written last: what failed half-way is made anew. The installs are editable, so a change of
# the code needs no new one; a change of a build file (version, dependencies) does.
$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "KPIggyBank needs Python 3.11 or later: make PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/made $(BUILD_FILES)
	$(PIP) install --editable .
	@touch $@

$(VENV)/installed-dev: $(VENV)/made $(BUILD_FILES)
	$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/installed

# A server that speaks CouchDB's protocol, for the tests. They do without it where there is no npm.
$(VENV)/pouchdb/installed: $(VENV)/made
	@if command -v npm >/dev/null; then \
	    npm install --prefix $(VENV)/pouchdb --no-audit --no-fund --loglevel=error \
	        pouchdb-server@$(POUCHDB) && touch $@; \
	else \
	    echo "There is no npm: the tests that need pouchdb-server are skipped"; \
	fi

# What finds out whether a page is for everybody. The page is not tested without it, or without
# Chromium.
$(VENV)/axe/installed: $(VENV)/made
	@if command -v npm >/dev/null; then \
	    npm install --prefix $(VENV)/axe --no-audit --no-fund --loglevel=error axe-core@$(AXE) \
	        && touch $@; \
	else \
	    echo "There is no npm: the tests of the page are skipped"; \
	fi
