#!/usr/bin/env bash
# Run pytest on those of the folders given that hold tests; other arguments go to pytest.
set -euo pipefail
arguments=()
folders=()
for argument in "$@"; do
  case $argument in
    tests/*)
      if [ -n "$(find "$argument" -name 'test_*.py' -print -quit 2>/dev/null)" ]; then folders+=("$argument"); fi
      ;;
    *) arguments+=("$argument") ;;
  esac
done
if [ ${#folders[@]} = 0 ]; then
  echo "no tests in: $*"
  exit 0
fi
# shellcheck disable=SC2086 # PYTEST_ARGS is a list of words
exec .venv/bin/python -m pytest "${folders[@]}" "${arguments[@]}" ${PYTEST_ARGS:-}
