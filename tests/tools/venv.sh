#!/usr/bin/env bash
# Create .venv if there is none and install a requirements file into it.
set -euo pipefail
will_do() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }
if ! [ -x .venv/bin/python ]; then
  python=${PYTHON:-/usr/bin/python3} # the system's own where it will do: distributions build it with profile-guided optimization
  if [ -z "${PYTHON:-}" ] && ! will_do "$python" 2>/dev/null; then python=python3; fi
  if ! will_do "$python"; then
    echo "$python is older than 3.11, which ansible-core needs: make PYTHON=/path/to/python3.11 ..." >&2
    exit 1
  fi
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    tests/tools/packages.sh - <<<"python3-venv"
  fi
  echo "== virtual environment .venv ($("$python" --version))"
  "$python" -m venv .venv
fi
echo "== Python packages of $1"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$1"
