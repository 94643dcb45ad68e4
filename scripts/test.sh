#!/usr/bin/env bash
# Runs every test of the optimised build. ctest's closing lines come last.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -e /dev/nvidiactl ] && [ ! -e /dev/dxg ]; then
  echo "no GPU here: tests with the label 'cuda' are left out"
  set -- -LE '^cuda$' "$@"
fi
exec ctest --test-dir build --output-on-failure --timeout 900 "$@"
