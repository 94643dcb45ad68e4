#!/usr/bin/env bash
# results.sh DATA OUT [SEED...]: trains and tests with default settings on every set of docs/results.md, then prints its table.
# DATA holds mvtec/bottle, mvtec/screw and magnetic_tile; OUT gets a run folder for each set and seed; what is there is kept.
# $DDPMTS_TEACHER names the teacher; seeds are 0 1 2 unless given.
set -euo pipefail
data=${1:?results.sh DATA OUT [SEED...]} out=${2:?results.sh DATA OUT [SEED...]}
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
program=${DDPMTS_PROGRAM:-$root/build/ddpmts}
seeds=("$@")
[[ $# -gt 0 ]] || seeds=(0 1 2)
for seed in "${seeds[@]}"; do
  for set in mvtec/bottle:300 mvtec/screw:600 magnetic_tile:600; do
    folder=${set%%:*} steps=${set##*:}
    run=$out/${folder##*/}-$steps-$seed
    [[ -f $run/results.json ]] || "$program" train "$data/$folder" -o "$run" --steps "$steps" --seed "$seed" --overwrite
  done
done
exec python3 "$root/scripts/results_table.py" "$out"
