#!/usr/bin/env bash
# light_binary.sh READELF PROGRAM: the program is linked to nothing that a plain machine lacks, but for oneDNN.
set -euo pipefail
needed=$("$1" --dynamic --wide "$2" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
[[ -n $needed ]] || { echo "light_binary.sh: $2 shows no shared library; is it a dynamic program?" >&2; exit 1; }
allowed='^(libc|libm|libstdc\+\+|libgcc_s|libgomp|libdnnl|libpthread|libdl|librt|ld-linux-x86-64)\.so(\.[0-9]+)*$'
extra=$(grep --invert-match --extended-regexp "$allowed" <<<"$needed" || true)
[[ -z $extra ]] || { echo "light_binary.sh: $2 also needs" $extra >&2; exit 1; }
