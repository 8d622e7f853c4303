#!/usr/bin/env bash
# Build the collection as a release would, and let the importer of Ansible Galaxy look at it.
set -euo pipefail
work=build/galaxy
rm -rf "$work"
mkdir -p "$work"
tests/tools/copy_collection.sh "$work/source"
.venv/bin/ansible-galaxy collection build --force --output-path "$work" "$work/source"
artifact=$(echo "$work"/podnet-doctor-*.tar.gz)
printf '%s: %d KB, %d files\n' "$artifact" $(($(stat -c %s "$artifact") / 1024)) "$(tar -tzf "$artifact" | wc -l)"

cat >"$work/importer.cfg" <<CONFIG
[galaxy-importer]
LOG_LEVEL_MAIN = INFO
RUN_ANSIBLE_DOC = True
RUN_ANSIBLE_LINT = True
RUN_FLAKE8 = False
RUN_ANSIBLE_TEST = False
CHECK_REQUIRED_TAGS = True
CHECK_CHANGELOG = True
CONFIG
log=$work/importer.log
if ! (cd "$work" && GALAXY_IMPORTER_CONFIG=importer.cfg "$OLDPWD/.venv/bin/python" -m galaxy_importer.main "${artifact##*/}") \
  >"$log" 2>&1; then
  cat "$log"
  exit 1
fi
if grep -E '^(WARNING|ERROR)|ERROR:|WARNING:' "$log"; then
  echo "galaxy-importer has warnings; the whole log is $log"
  exit 1
fi
echo "galaxy-importer: no warnings"

# It has to work with nothing but what Ansible itself looks at.
bare=$work/bare/ansible_collections/podnet/doctor
mkdir -p "$bare"
tar -xzf "$artifact" -C "$bare" MANIFEST.json FILES.json meta plugins roles playbooks
export ANSIBLE_COLLECTIONS_PATH=$PWD/$work/bare ANSIBLE_HOST_PATTERN_MISMATCH=ignore
.venv/bin/ansible-doc --metadata-dump podnet.doctor >/dev/null
playbooks=0
for playbook in "$bare"/playbooks/*.yml; do
  name=$(basename "$playbook" .yml)
  .venv/bin/ansible-playbook --syntax-check -i localhost, "podnet.doctor.$name" >/dev/null
  playbooks=$((playbooks + 1))
done
echo "works with meta, plugins, roles and playbooks alone: $playbooks playbooks, all plugins documented"
