#!/usr/bin/env bash
# Everything that can only be seen on a GPU, in one command: bench/gpu_suite.py, whose options it takes (--help shows them).
set -euo pipefail
command -v python3 >/dev/null || { echo "gpu_suite: needs python3" >&2; exit 2; }
exec python3 "$(dirname "$0")/gpu_suite.py" "$@"
