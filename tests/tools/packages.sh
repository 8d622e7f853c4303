#!/usr/bin/env bash
# Install the Debian packages named in a file (or on standard input for -), one a line, # comments.
# No service is started by it, and the services of what it installs are not enabled at boot.
set -euo pipefail
[ "$1" = - ] || [ -f "$1" ] || exit 0
if ! command -v dpkg-query >/dev/null; then
  echo "not a Debian system: the packages of $1 are yours to install" >&2
  exit 0
fi

missing=()
while read -r name; do
  state=$(dpkg-query -W -f '${Status}' "$name" 2>/dev/null || true)
  [ "$state" = "install ok installed" ] || missing+=("$name")
done < <(sed 's/#.*//' "$1" | tr -s ' \t' '\n' | sed '/^$/d')
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
  echo "not root: these packages stay missing: ${missing[*]}" >&2
  exit 0
fi

policy=/usr/sbin/policy-rc.d
if ! [ -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

echo "== system packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get -qq -o DPkg::Lock::Timeout=300 update &&
  apt-get -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "${missing[@]}"; } >"$log" 2>&1; then
  cat "$log" >&2
  rm -f "$log"
  exit 1
fi
rm -f "$log"

if command -v systemctl >/dev/null; then
  for name in "${missing[@]}"; do
    while read -r unit; do
      systemctl --quiet disable "$unit" 2>/dev/null || true
    done < <(dpkg-query -L "$name" | sed -n 's#^.*/lib/systemd/system/\([^/@]*\.\(service\|socket\)\)$#\1#p')
  done
fi
