#!/bin/sh
# Builds knock.js to the WebAssembly component OUT.wasm. Needs componentize-qjs: npm install --global componentize-qjs@0.4.5
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(dirname "$0")

command -v componentize-qjs >/dev/null || { echo "$0: no componentize-qjs here; npm install --global componentize-qjs@0.4.5" >&2; exit 127; }
# A rule has no WASI, and its calls do not wait (--sync).
exec componentize-qjs -w "$here/../../../guest-sdk/wit" -n rule -j "$here/knock.js" --sync --stub-wasi --opt-size --minify -o "$1"
