#!/bin/sh
# Builds office_hours.ts to the WebAssembly module OUT.wasm. Needs AssemblyScript: npm install --global assemblyscript@0.28.20
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
command -v asc >/dev/null || { echo "$0: no asc here; npm install --global assemblyscript@0.28.20" >&2; exit 127; }
cd "$(dirname "$0")"
# What cannot go on says so in the daemon's log, by the function `abort` of the SDK.
exec asc office_hours.ts --optimize --use abort=../../../guest-sdk/assemblyscript/postern/abort -o "$out"
