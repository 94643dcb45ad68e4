#!/usr/bin/env bash
# Draws three kinds of parts, learns each from good ones alone, tests on defects, and names the reports to open.
set -euo pipefail
cd "$(dirname "$0")/.."
program=build/ddpmts
out=demo

teacher=${DDPMTS_TEACHER:-}
for file in weights/*.safetensors ../shared/weights/resnet18_imagenet*.safetensors; do
  [ -z "$teacher" ] && [ -f "$file" ] && teacher=$file
done
if [ -n "$teacher" ]; then
  echo "teacher: $teacher"
else
  teacher=random
  echo "teacher: none found, so random weights; a pretrained one finds more (weights/README.md)"
fi

$program draw -o $out/parts >/dev/null
for part in flange blister fabric; do
  echo
  echo "== $part"
  $program train $out/parts/$part -o $out/$part --teacher "$teacher" --minutes "${DEMO_MINUTES:-1}" --overwrite
done
echo
echo "Open $out/flange/report.html, $out/blister/report.html and $out/fabric/report.html"
