#!/usr/bin/env bash
# Builds the examples of rules into the build folder, guests/examples/LANGUAGE.wasm, and tests each natively where its language has a way;
# and the recipes, guests/recipes/NAME.wasm. What has not changed since is not built again.
#
#     tests/guests.sh                  all: two at a time; a language without its compiler is named and left out, and fails under CI
#     tests/guests.sh --build WHICH    one, a language or recipes/NAME, without its native test; status 127 if there is no compiler
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
mkdir -p "$target"/guests/{examples,recipes}
toolchains=$target/toolchains

PATH=$PATH:$(tests/toolchains.sh --path)
export PATH PYTHONPATH=$toolchains/python PYTHONDONTWRITEBYTECODE=1
export GOTOOLCHAIN=local GOFLAGS= GOCACHE=$toolchains/go-cache
export ZIG_GLOBAL_CACHE_DIR=$toolchains/zig-cache ZIG_LOCAL_CACHE_DIR=$toolchains/zig-cache

languages=(cpp python rust zig go assemblyscript typescript javascript c wat)
declare -A recipes=([decoy]=cpp [networks]=go [office-hours]=assemblyscript [payload-match]=c [ping-length]=wat [syn-sequence]=zig)

zig() { python3 -m ziglang "$@"; }

# Which, as it is named below rules and below the folder of modules.
folder() { case $1 in recipes/*) echo "$1" ;; *) echo "examples/$1" ;; esac; }

# What a module is made of and how, as a number.
fingerprint() {
    local language=$1 folders
    [ "${1#recipes/}" = "$1" ] || language=${recipes[${1#recipes/}]}
    folders=("rules/$(folder "$1")" "guest-sdk/$language" guest-sdk/wit)
    [ "$language" != cpp ] || folders+=(guest-sdk/c)
    [ "$language" != typescript ] || folders+=(guest-sdk/javascript)
    {
        cat tests/toolchains/*
        [ "$language" != rust ] || cat Cargo.lock
        find "${folders[@]}" -type f ! -name '*.md' | sort | xargs sha256sum
    } | sha256sum
}

build() {
    local name=$target/guests/$(folder "$1") module mark status=0
    module=$name.wasm mark=$name.built
    exec 9>"$name.lock"
    flock 9
    [ "$(fingerprint "$1")" = "$(cat "$mark" 2>/dev/null)" ] && [ -f "$module" ] && return
    rm -f "$mark"
    # Cargo's folder for guests, so that it waits for no other cargo.
    CARGO_TARGET_DIR=$target/guests "rules/$(folder "$1")/build.sh" "$module" 9>&- || status=$?
    [ $status -eq 0 ] && fingerprint "$1" >"$mark"
    return $status
}

# Not where there is no compiler for it natively.
native_test() {
    local sdk=$PWD/guest-sdk scratch
    # A recipe has scenarios, which are played to its module.
    case $1 in recipes/*) return ;; esac
    scratch=$(mktemp -d)
    # shellcheck disable=SC2064 # now
    trap "rm -rf $scratch" EXIT
    cd "rules/examples/$1"
    case $1 in
        c) cc -std=c11 -Wall -Wextra -Werror -I "$sdk/c" -o "$scratch/test" test.c && "$scratch/test" ;;
        cpp)
            command -v c++ >/dev/null || return 0
            c++ -std=c++20 -Wall -Wextra -Werror -I "$sdk/c" -I "$sdk/cpp" -o "$scratch/test" test.cpp && "$scratch/test"
            ;;
        go) go vet . && go test . && cd "$sdk/go" && go vet . && go test . ;;
        javascript) node --test ;;
        python) PYTHONPATH=$sdk/python python3 -m unittest -q && cd "$sdk/python" && python3 -m unittest -q ;;
        typescript) tsc -p . --outDir "$scratch" && RULE=$scratch/knock.js node --test ;;
        zig) zig test --dep postern -Mroot=knock.zig -Mpostern="$sdk/zig/postern.zig" ;;
        # Rust's tests are the workspace's; the others have no native way.
        rust | assemblyscript | wat) ;;
    esac
}

# One language, and what is to be said of it as one line.
one() {
    local name status=0 begin=$SECONDS log
    name=$target/guests/$(folder "$1")
    log=$name.log
    (build "$1" && native_test "$1") >"$log" 2>&1 || status=$?
    if [ $status -eq 0 ]; then
        printf 'guests: %-22s %8d bytes %4d s\n' "$1" "$(stat -c %s "$name.wasm")" $((SECONDS - begin))
    elif [ $status -eq 127 ] && [ -z "${CI+x}" ]; then
        echo "guests: $1 is left out: $(tail -n 1 "$log")"
    else
        cat "$log" >&2
        echo "guests: $1 failed" >&2
        return 1
    fi
}

case ${1-} in
    --build) build "$2" ;;
    --one) one "$2" ;;
    *)
        names=("${!recipes[@]}")
        printf '%s\n' "${languages[@]}" "${names[@]/#/recipes/}" | xargs -P 2 -I {} "$0" --one {}
        ;;
esac
