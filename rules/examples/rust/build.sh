#!/bin/sh
# Builds this crate to the WebAssembly module OUT.wasm. Needs Rust 1.95 with its target wasm32-unknown-unknown, or Debian's packages
# rustc-web, rust-web-src and lld, of which the standard library is built first.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUT.wasm" >&2; exit 2; }
case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
cd "$(dirname "$0")"

target=wasm32-unknown-unknown
has() { [ -d "$("$1" --print sysroot 2>/dev/null)/lib/rustlib/$2" ]; }
if has rustc $target/lib; then
    cargo build --release --target $target
elif has /usr/bin/rustc src/rust/library/std && command -v wasm-ld >/dev/null; then
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld \
        cargo build --release --target $target -Zbuild-std=std,panic_abort
else
    echo "$0: no Rust for $target here; rustup target add $target" >&2
    exit 127
fi
: "${CARGO_TARGET_DIR:=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')}"
cp "$CARGO_TARGET_DIR/$target/release/knock.wasm" "$out"
