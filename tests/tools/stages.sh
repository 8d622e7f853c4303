#!/usr/bin/env bash
# Run the make targets given, all of them, and say at the end how each went and how long it took.
set -uo pipefail
passed=0
failed=0
summary=()
for stage in "$@"; do
  printf '\n==== %s\n' "$stage"
  began=$SECONDS
  if make "$stage"; then
    passed=$((passed + 1))
    word=ok
  else
    failed=$((failed + 1))
    word=FAILED
  fi
  summary+=("$(printf '%-12s %-6s %4d s' "$stage" "$word" $((SECONDS - began)))")
done
printf '\n==== stages\n'
printf '%s\n' "${summary[@]}"
printf 'stages: %d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
