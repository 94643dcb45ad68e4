#!/usr/bin/env bash
# Installs the Debian packages that are missing; says which, asks for nothing. Debian 12 and Ubuntu 24.04.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build ccache pkg-config libdnnl-dev libcli11-dev nlohmann-json3-dev libfmt-dev libstb-dev
          libgtest-dev libbenchmark-dev libeigen3-dev)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done

# cudnn-frontend: headers only, from the PyPI package, for builds with CUDA.
fetch_cudnn_frontend() {
  local version=1.32.0
  local wheel=nvidia_cudnn_frontend-$version-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl
  local sha256=c6006556017a4d1c914c52a556c71b1267f2d6a0500f742e7b4edef539878df0
  local target=.deps/cudnn_frontend-$version
  [ -f $target/include/cudnn_frontend.h ] && return
  python3 -m pip --version >/dev/null 2>&1 || {
    echo "setup: cudnn-frontend $version is needed for CUDA and pip is not here: install python3-pip, or unpack" >&2
    echo "       $wheel (PyPI: nvidia-cudnn-frontend) so that $target/include/cudnn_frontend.h exists" >&2
    return
  }
  echo "setup: fetching cudnn-frontend $version"
  local download
  download=$(mktemp -d)
  # The headers are the same in every wheel of a version; one is named so that its checksum can be.
  if ! python3 -m pip download --quiet --no-deps --only-binary=:all: --implementation cp --python-version 3.11 \
      --abi cp311 --platform manylinux_2_27_x86_64 -d "$download" nvidia-cudnn-frontend==$version; then
    rm -r "$download"
    echo "setup: cudnn-frontend could not be fetched; without it the build has no CUDA device" >&2
    return
  fi
  if ! echo "$sha256  $download/$wheel" | sha256sum --check --status; then
    rm -r "$download"
    echo "setup: $wheel is not the file that this project was written with (sha256 differs); it is not used" >&2
    return 1
  fi
  mkdir -p .deps
  rm -rf $target.unpacking
  python3 -m zipfile -e "$download/$wheel" $target.unpacking
  rm -rf $target
  mkdir $target
  mv $target.unpacking/include $target.unpacking/*.dist-info $target/
  rm -r $target.unpacking "$download"
}
if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
  fetch_cudnn_frontend
fi

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
