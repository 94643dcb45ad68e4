#!/usr/bin/env bash
# Installs the Debian packages that are missing; says which, asks for nothing. Debian 12 and Ubuntu 24.04.
set -euo pipefail

packages=(g++ cmake ninja-build ccache pkg-config libdnnl-dev libcli11-dev nlohmann-json3-dev libfmt-dev libstb-dev
          libgtest-dev libbenchmark-dev libeigen3-dev)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

command -v apt-get >/dev/null || {
  echo "setup: this script knows Debian and Ubuntu; elsewhere install: ${missing[*]}" >&2
  exit 1
}
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "setup: run as root, or install sudo: ${missing[*]} are missing" >&2; exit 1; }
  as_root=(sudo)
fi
echo "setup: installing ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
