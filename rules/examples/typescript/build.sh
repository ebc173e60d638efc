#!/bin/sh
# Builds knock.ts to the WebAssembly component OUT.wasm. Needs: npm install --global typescript@7.0.2 componentize-qjs@0.4.5
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(dirname "$0")

command -v tsc >/dev/null && command -v componentize-qjs >/dev/null ||
    { echo "$0: no tsc or componentize-qjs here; npm install --global typescript@7.0.2 componentize-qjs@0.4.5" >&2; exit 127; }
scripts=$(mktemp -d)
trap 'rm -rf "$scripts"' EXIT
tsc -p "$here" --outDir "$scripts"
# A rule has no WASI, and its calls do not wait (--sync).
componentize-qjs -w "$here/../../../guest-sdk/wit" -n rule -j "$scripts/knock.js" --sync --stub-wasi --opt-size --minify -o "$1"
