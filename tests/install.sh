#!/usr/bin/env bash
# Installs what building and testing Postern need and is not there yet: Debian's and Ubuntu's packages, and a compiler target.
# Says a line for each thing it does, and nothing if there is nothing to do. Elsewhere it says what is missing.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

OLDEST_RUST=95 # 1.95: what the workspace's manifest asks for
TARGET=wasm32-unknown-unknown

say() { echo "install: $*"; }
fail() {
    say "$*" >&2
    exit 1
}
has() { command -v "$@" >/dev/null 2>&1; }

# The versioned names that Debian gives to parts of LLVM count too.
has_llvm() {
    local version
    has "$1" && return
    for version in {14..30}; do has "$1-$version" && return; done
    return 1
}

has_libpcap() { echo 'int main(void) { return 0; }' | cc -x c - -lpcap -o /dev/null 2>/dev/null; }

has_rust() {
    local minor
    has cargo && has rustc || return
    minor=$(rustc --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
    [ "${minor:-0}" -ge "$OLDEST_RUST" ]
}

# A compiler that can make WebAssembly: the one in use, or Debian's, with a standard library or the sources of one.
has_wasm() {
    local rustc rustlib
    for rustc in rustc /usr/bin/rustc; do
        rustlib=$("$rustc" --print sysroot 2>/dev/null)/lib/rustlib || continue
        if [ -d "$rustlib/$TARGET/lib" ] || [ -d "$rustlib/src/rust/library/std" ]; then return; fi
    done
    return 1
}

has_tools() { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1

# What rustup brings comes without root and fits the compiler in use.
rustup_adds() {
    has rustup || return
    say "rustup $*"
    timeout 120 rustup --quiet "$@" >/dev/null 2>&1
}

packages=()
want() { packages+=("$@"); }

has cc || want gcc libc6-dev
has_libpcap || want libpcap-dev
has pkg-config || want pkg-config
has make || want make
has nft || want nftables
[ -e /etc/protocols ] || want netbase # where nft finds the names of protocols
has ip || want iproute2
has unshare || want util-linux
has python3 || want python3-minimal # one test makes a tunnel with it
python3 -m pip --version >/dev/null 2>&1 || want python3-pip # how toolchains.sh comes by compilers
has knock && has knockd || want knockd
has sshd || want openssh-server
has ssh && has ssh-keygen || want openssh-client
has_llvm clang || want clang
has_llvm wasm-ld || want lld
if has_rust; then
    has_tools || rustup_adds component add rustfmt clippy || want rustfmt-web rust-web-clippy
else
    want cargo-web rustc-web rustfmt-web rust-web-clippy
fi
has_wasm || rustup_adds target add "$TARGET" || want rustc-web rust-web-src

[ ${#packages[@]} -gt 0 ] || exit 0

has apt-get || fail "missing here, by the names that Debian gives: ${packages[*]}"
root=()
if [ "$(id -u)" -ne 0 ]; then
    has sudo || fail "missing: ${packages[*]}; become root and run $0"
    root=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y "$@" >"$log" 2>&1; }

say "apt-get update"
apt update || { tail -n 5 "$log" >&2; say "the package lists could not be renewed; trying with the old ones" >&2; }
if [[ " ${packages[*]} " == *-web* ]] && ! apt-cache show rustc-web >/dev/null 2>&1; then
    fail "no Rust 1.$OLDEST_RUST with $TARGET, rustfmt and clippy here, and this distribution has none; get rustup from https://rustup.rs," \
        "then: rustup update stable && rustup target add $TARGET"
fi
# Tests start servers of these packages in namespaces. Here none of them must run, neither now nor after the next boot.
units=()
[[ " ${packages[*]} " != *" knockd "* ]] || units+=(knockd.service)
[[ " ${packages[*]} " != *" openssh-server "* ]] || units+=(ssh.service ssh.socket)
policy=/usr/sbin/policy-rc.d
if [ ${#units[@]} -gt 0 ] && [ ! -e $policy ]; then
    trap 'rm -f "$log"; "${root[@]}" rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" install -m 755 /dev/stdin $policy
fi
say "apt-get install ${packages[*]}"
apt install --no-install-recommends "${packages[@]}" || { tail -n 20 "$log" >&2; fail "apt-get install failed"; }
if has systemctl; then
    # One that is not there has nothing to disable.
    for unit in "${units[@]}"; do "${root[@]}" systemctl --quiet disable "$unit" 2>/dev/null || :; done
fi

hash -r
has_rust || fail "$(rustc --version 2>&1) is older than 1.$OLDEST_RUST; with rustup: rustup update stable"
has_wasm || fail "still no $TARGET"
