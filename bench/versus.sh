#!/usr/bin/env bash
# Times ddpmts_bench and its PyTorch twins in turns (bench/versus.py, whose options it takes). PyTorch is installed into
# build/twins on the first run; TWINS_PYTHON names a Python that has it already.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ ! -x build/ddpmts_bench ]]; then
  echo "versus.sh: build/ddpmts_bench is not there; run make first" >&2
  exit 2
fi
python=${TWINS_PYTHON:-build/twins/bin/python}
if [[ -z ${TWINS_PYTHON:-} && ! -x $python ]]; then
  python3 -m venv build/twins
  build/twins/bin/pip install --quiet torch numpy safetensors --extra-index-url https://download.pytorch.org/whl/cpu
fi
exec "$python" bench/versus.py --python "$python" "$@"
