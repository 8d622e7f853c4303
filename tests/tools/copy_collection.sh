#!/usr/bin/env bash
# Copy what git knows or would add (nothing ignored) into a folder, which is emptied first.
set -euo pipefail
rm -rf "$1"
mkdir -p "$1"
git ls-files -co --exclude-standard -z | while IFS= read -r -d '' file; do
  if [ -e "$file" ] || [ -L "$file" ]; then printf '%s\0' "$file"; fi
done | tar --null --no-recursion -T - -cf - | tar -xf - -C "$1"
