#!/bin/sh
# Builds knock.js to the WebAssembly component OUT.wasm. Needs componentize-qjs: npm install --global componentize-qjs@0.4.5
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(dirname "$0")

command -v componentize-qjs >/dev/null || { echo "$0: no componentize-qjs here; npm install --global componentize-qjs@0.4.5" >&2; exit 127; }
scripts=$(mktemp -d)
trap 'rm -rf "$scripts"' EXIT
cp "$here"/*.js "$here/../../../guest-sdk/javascript/postern.mjs" "$scripts"
# What is exported is the rule with words for its failures.
cat >"$scripts/entry.mjs" <<'END'
import * as rule from "./knock.js";
import { reportFailures } from "./postern.mjs";
export const { configure, judge } = reportFailures(rule);
END
# A rule has no WASI, and its calls do not wait (--sync).
componentize-qjs -w "$here/../../../guest-sdk/wit" -n rule -j "$scripts/entry.mjs" --module-root "$scripts" --sync --stub-wasi --opt-size -o "$1"
