#!/bin/sh
# Builds payload_match.c to the WebAssembly module OUT.wasm. Needs clang 14 or newer and the wasm-ld that goes with it.
set -eu
if [ $# -ne 1 ]; then
    echo "usage: $0 OUT.wasm" >&2
    exit 2
fi
here=$(dirname "$0")
sdk=$here/../../../guest-sdk/c

# A plain `clang` first, then the names that Debian gives, newest first. Each looks for the wasm-ld of its own version.
for compiler in ${CC_WASM:-} clang clang-22 clang-21 clang-20 clang-19 clang-18 clang-17 clang-16 clang-15 clang-14; do
    command -v "$compiler" >/dev/null 2>&1 || continue
    version=${compiler##*-}
    linker=wasm-ld
    if [ "$version" != "$compiler" ] && command -v "wasm-ld-$version" >/dev/null 2>&1; then linker=wasm-ld-$version; fi
    command -v "$linker" >/dev/null 2>&1 || continue
    # Stack first: an overflow traps instead of running into data. 16 KiB of it, so one page of memory is enough.
    exec "$compiler" --target=wasm32 -std=c11 -O2 -ffreestanding -nostdlib -Wall -Wextra -Werror \
        -fuse-ld="$(command -v "$linker")" \
        -Wl,--no-entry -Wl,--strip-all -Wl,--stack-first -Wl,-z,stack-size=16384 \
        -I "$sdk" -o "$1" "$here/payload_match.c"
done
echo "$0: no clang with a wasm-ld here; on Debian: apt-get install clang-19 lld-19" >&2
exit 127
