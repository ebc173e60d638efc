#!/bin/sh
# Builds decoy.cpp to the WebAssembly module OUT.wasm. Needs Zig's C++ compiler: pip install ziglang==0.17.1
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(dirname "$0")
sdk=$here/../../../guest-sdk

if command -v zig >/dev/null; then zig=zig
elif python3 -c 'import ziglang' 2>/dev/null; then zig='python3 -m ziglang'
else echo "$0: no Zig here; pip install ziglang==0.17.1" >&2; exit 127
fi
# A reactor has no main. Nothing catches exceptions in a module, so there are none; 64 KiB of stack are plenty.
exec $zig c++ -target wasm32-wasi -mexec-model=reactor -std=c++20 -O2 -s -fno-exceptions -fno-rtti -Wall -Wextra -Werror \
    -Wl,-z,stack-size=65536 -I "$sdk/c" -I "$sdk/cpp" -o "$1" "$here/decoy.cpp"
