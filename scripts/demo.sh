#!/usr/bin/env bash
# Draws three kinds of parts, learns each from good ones alone, tests on defects, and names the reports to open. The flange also
# learns from defects that a small diffusion model paints, taught here in half a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
program=build/ddpmts
out=demo
minutes=${DEMO_MINUTES:-0.8}

$program draw -o $out/parts >/dev/null
for part in flange blister fabric; do
  echo
  echo "== $part"
  source=(--source self=0.6,texture=0.4)
  if [ $part = flange ]; then
    source=(--source self=0.4,texture=0.3,diffusion=0.3 --diffusion-minutes 0.5 --paint 64)
  fi
  $program train $out/parts/$part -o $out/$part --minutes "$minutes" "${source[@]}" --overwrite
done
echo
echo "Open $out/flange/report.html, $out/blister/report.html and $out/fabric/report.html"
