#!/usr/bin/env bash
# build.sh [TARGET...]: builds the optimised programs into build/, or only what is named.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release >build.log 2>&1 || { cat build.log; exit 1; }
rm -f build.log
cmake --build build ${@:+--target "$@"}
