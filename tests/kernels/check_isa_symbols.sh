#!/bin/sh
# usage: check_isa_symbols.sh NM ISA OBJECT...
#
# Fails if an object compiled for one instruction set defines a weak symbol outside ddpmts::kernels::cpu::ISA. The
# linker keeps one copy of a weak symbol, whichever comes first: an AVX-512 copy of some std:: or header function could
# end up under the baseline kernels and stop the program on an older machine.
set -eu

nm=$1
isa=$2
shift 2
if [ $# -eq 0 ]; then
  echo "check_isa_symbols: no object files given for $isa" >&2
  exit 1
fi

failed=0
for object in "$@"; do
  symbols=$("$nm" -C --defined-only "$object")
  if ! printf '%s\n' "$symbols" | grep -q " T ddpmts::kernels::cpu::$isa::"; then
    echo "$object defines no kernel of $isa: is it the right file?" >&2
    failed=1
  fi
  # DW.ref.__gxx_personality_v0 is a pointer, the same in every copy.
  strays=$(printf '%s\n' "$symbols" | sed -nE 's/^[0-9a-f]+ [WwVvu] //p' |
    grep -vE "^([^ (]+ )?ddpmts::kernels::cpu::$isa::" | grep -vxF 'DW.ref.__gxx_personality_v0' || true)
  if [ -n "$strays" ]; then
    echo "$object defines weak symbols that every instruction set shares:" >&2
    printf '%s\n' "$strays" | sed 's/^/  /' >&2
    failed=1
  fi
done
[ "$failed" -eq 0 ] && echo "$isa: $# objects, no stray weak symbol"
exit "$failed"
