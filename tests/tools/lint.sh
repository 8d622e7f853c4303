#!/usr/bin/env bash
# All linters; every one runs, also after another found something.
set -uo pipefail
failed=()
run() {
  local name=$1
  shift
  local began=$SECONDS
  if "$@"; then printf 'ok      %s (%d s)\n' "$name" $((SECONDS - began)); else
    failed+=("$name")
    printf 'FAILED  %s (%d s)\n' "$name" $((SECONDS - began))
  fi
}

house=build/collections/ansible_collections/podnet/doctor
# mypy reads the collection under the name that Ansible gives it; tests themselves are not typed, their helpers are.
typed=("$house/plugins")
for folder in lab bench tests/tools tests/support; do
  if [ -n "$(find $folder -name '*.py' -print -quit 2>/dev/null)" ]; then typed+=("$folder"); fi
done
typed+=(tests/matrix.py tests/hops.py tests/remedies.py tests/incident.py tests/captures.py tests/policy.py tests/truth.py)
mapfile -t scripts < <(git ls-files -co --exclude-standard '*.sh' .ci/run)

run ruff .venv/bin/ruff check --quiet .
# os.setns is looked for before it is called.
older() { .venv/bin/vermin -q --no-tips --eval-annotations --violations --exclude os.setns "$@"; }
run 'Python 3.9 on nodes' older -t=3.9- plugins/modules plugins/module_utils
run 'Python 3.10 on the controller' older -t=3.10- plugins/action plugins/callback plugins/filter plugins/inventory plugins/plugin_utils
run mypy .venv/bin/mypy --no-error-summary "${typed[@]}"
run yamllint .venv/bin/yamllint --strict .
run shellcheck shellcheck "${scripts[@]}"
run ansible-lint .venv/bin/ansible-lint -q --offline --nocolor
if [ ${#failed[@]} -gt 0 ]; then
  echo "lint failed: ${failed[*]}"
  exit 1
fi
