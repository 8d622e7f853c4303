#!/usr/bin/env bash
# ansible-rulebook in a virtual environment of its own: build/rulebook. Its rules are run by Java.
set -euo pipefail
tests/tools/packages.sh - <<<"openjdk-17-jre-headless"
[ ! -x build/rulebook/bin/ansible-rulebook ] || exit 0
mkdir -p build
.venv/bin/python -m venv build/rulebook
build/rulebook/bin/pip install --quiet --disable-pip-version-check 'ansible-rulebook==1.3.2' 'ansible-core>=2.19,<2.20' 'ansible-runner==2.4.3'
