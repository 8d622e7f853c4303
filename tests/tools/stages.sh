#!/usr/bin/env bash
# Run make targets, all of them, and say at the end how each went and how long it took.
# stages.sh [--beside "targets"] targets...: those beside run one after the other while the others do; their output is shown when each has ended.
set -uo pipefail
ended=$(mktemp -d)
trap 'rm -rf "$ended"' EXIT

stage() { # name, quiet or aloud
  local began=$SECONDS word=ok
  if [ "$2" = quiet ]; then
    make "$1" >"$ended/$1.out" 2>&1 || word=FAILED
    printf '\n==== %s (ran beside the others)\n' "$1"
    cat "$ended/$1.out"
  else
    printf '\n==== %s\n' "$1"
    make "$1" || word=FAILED
  fi
  printf '%-12s %-6s %4d s\n' "$1" "$word" $((SECONDS - began)) >"$ended/$1.word"
}

beside=""
if [ "${1:-}" = --beside ]; then
  beside=$2
  shift 2
fi
(for name in $beside; do stage "$name" quiet; done) &
for name in "$@"; do stage "$name" aloud; done
wait

printf '\n==== stages\n'
failed=0
for name in $beside "$@"; do
  cat "$ended/$name.word" || printf '%-12s FAILED, it did not end\n' "$name"
  grep -q ' ok ' "$ended/$name.word" || failed=$((failed + 1))
done
printf 'stages: %d failed\n' "$failed"
[ "$failed" = 0 ]
