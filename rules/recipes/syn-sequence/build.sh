#!/bin/sh
# Builds syn_sequence.zig to the WebAssembly module OUT.wasm. Needs Zig 0.17: pip install ziglang==0.17.1
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(dirname "$0")

if command -v zig >/dev/null; then zig=zig
elif python3 -c 'import ziglang' 2>/dev/null; then zig='python3 -m ziglang'
else echo "$0: no Zig here; pip install ziglang==0.17.1" >&2; exit 127
fi
# 64 KiB of stack are plenty.
exec $zig build-exe -target wasm32-freestanding -O ReleaseSmall -fstrip -fno-entry -rdynamic --stack 65536 -femit-bin="$1" \
    --dep postern -Mroot="$here/syn_sequence.zig" -Mpostern="$here/../../../guest-sdk/zig/postern.zig"
