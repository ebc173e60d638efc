#!/bin/sh
# Builds knock.ts to the WebAssembly component OUT.wasm. Needs: npm install --global typescript@7.0.2 componentize-qjs@0.4.5
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
here=$(dirname "$0")

command -v tsc >/dev/null && command -v componentize-qjs >/dev/null ||
    { echo "$0: no tsc or componentize-qjs here; npm install --global typescript@7.0.2 componentize-qjs@0.4.5" >&2; exit 127; }
scripts=$(mktemp -d)
trap 'rm -rf "$scripts"' EXIT
tsc -p "$here" --outDir "$scripts" --sourceMap
cp "$here/../../../guest-sdk/javascript/postern.mjs" "$scripts"
node "$here/../../../guest-sdk/typescript/lines.mjs" "$scripts"/*.js.map >"$scripts/lines.mjs"
# What is exported is the rule with words for its failures, which name lines of the source.
cat >"$scripts/entry.mjs" <<'END'
import * as rule from "./knock.js";
import { lines } from "./lines.mjs";
import { reportFailures } from "./postern.mjs";
export const { configure, judge } = reportFailures(rule, lines);
END
# A rule has no WASI, and its calls do not wait (--sync).
componentize-qjs -w "$here/../../../guest-sdk/wit" -n rule -j "$scripts/entry.mjs" --module-root "$scripts" --sync --stub-wasi --opt-size -o "$1"
