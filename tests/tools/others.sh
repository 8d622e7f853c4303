#!/usr/bin/env bash
# Collections of others that only tests use, out of the community package: build/others/ansible_collections.
set -euo pipefail
target=build/others
[ ! -d "$target/ansible_collections/awx" ] || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/pip download --quiet --disable-pip-version-check --no-deps --dest "$work" 'ansible==12.3.0'
.venv/bin/python - "$work" "$target.new" <<'PYTHON'
import pathlib, sys, zipfile
(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(sys.argv[2], [name for name in archive.namelist() if name.startswith("ansible_collections/awx/")])
PYTHON
rm -rf "$target"
mv "$target.new" "$target"
