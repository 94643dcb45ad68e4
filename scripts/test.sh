#!/usr/bin/env bash
# Runs every test of the optimised build. ctest's closing lines come last.
set -euo pipefail
cd "$(dirname "$0")/.."
exec ctest --test-dir build --output-on-failure --timeout 900 "$@"
