#!/bin/sh
# Builds knock.py to the WebAssembly component OUT.wasm. Needs componentize-py: pip install componentize-py==0.25.1
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(dirname "$0")

command -v componentize-py >/dev/null || { echo "$0: no componentize-py here; pip install componentize-py==0.25.1" >&2; exit 127; }
# Of a copy, because Python leaves what it has compiled beside the source.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp "$here"/*.py "$here/../../../guest-sdk/python/postern.py" "$copy"
# What is built is the rule with words for its failures.
cat >"$copy/entry.py" <<'END'
import knock
import postern

WitWorld = postern.report_failures(knock)
END
componentize-py -d "$here/../../../guest-sdk/wit" -w rule componentize --stub-wasi -p "$copy" entry -o "$1"
