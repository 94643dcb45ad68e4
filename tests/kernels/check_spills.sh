#!/bin/sh
# usage: check_spills.sh NVCC SOURCE_DIR ARCHITECTURES KERNEL.cu...
#
# ARCHITECTURES as CMake has them, separated by commas: 90-real,120-virtual or native.
# Compiles each file for each architecture and reads the assembler's report: registers and shared memory of every kernel are
# printed; a kernel that spills registers or keeps something in local memory (a stack frame) fails the check.
set -u

nvcc=$1
source_dir=$2
architectures=$(printf '%s' "$3" | tr , '\n' | sed 's/-.*//; s/^[0-9]/sm_&/' | sort -u)
shift 3
if [ $# -eq 0 ] || [ -z "$architectures" ]; then
  echo "check_spills: no kernel files or no architectures given" >&2
  exit 1
fi

# One file for one architecture.
check() {
  case $2 in
    */forward_diffusion.cu | */perlin_mask.cu | */reverse_step.cu | */scene_views.cu | */triplet.cu) extra=-fmad=false ;;
    *) extra= ;;
  esac
  # shellcheck disable=SC2086  # extra is one option or none
  if ! report=$("$nvcc" -std=c++20 -O3 -arch="$1" -I"$source_dir" $extra -Xptxas -v -cubin -o /dev/null "$2" 2>&1); then
    printf '%s\n' "$report" >&2
    return 1
  fi
  printf '%s\n' "$report" | awk -v file="${2##*/}" -v architecture="$1" '
    /Compiling entry function/ {
      kernel = $0
      sub(/.*entry function ./, "", kernel)
      sub(/. for .sm_.*/, "", kernel)
      h = "[0-9a-f]"
      sub(".*_cu_" h h h h h h h h "_?[0-9]*", "", kernel)  # namespaces, a hash, the length of the name
    }
    /bytes stack frame/ { stack = $1; stores = $5; loads = $9 }
    /Used [0-9]+ registers/ {
      kernels += 1
      registers = $5
      shared = 0
      if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART, RLENGTH) + 0
      bad = stack + stores + loads > 0
      printf "%s %-6s %-22s %3d registers %6d bytes shared %4d bytes stack %4d spilled  %s\n",
             bad ? "FAIL" : "ok  ", architecture, file, registers, shared, stack, stores + loads, substr(kernel, 1, 60)
      if (bad) failures += 1
    }
    END {
      if (kernels == 0) { print "FAIL " file ": the report names no kernel"; exit 1 }
      exit failures > 0
    }'
}

failed=0
for architecture in $architectures; do
  for file in "$@"; do
    check "$architecture" "$file" || failed=1
  done
done
exit "$failed"
