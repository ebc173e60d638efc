# How to try and test Postern. Nothing here touches your network: whatever plays with interfaces and firewalls runs in
# namespaces of its own. Only installing what is missing needs root.

# nft and ip are there, where a user's PATH often does not look.
export PATH := $(PATH):/usr/sbin:/sbin

# Building happens outside, where compilers find their folders; only what was built runs inside.
inside := --config 'target."cfg(unix)".runner = "tests/in-namespace.sh"'

windows := x86_64-pc-windows-gnu

.PHONY: help demo demo-tenants test check guests languages first-rule bench systemd deny deps toolchains

help: # say what there is
	@sed -n 's/^\([a-z-]*\):.*# /  make \1\t/p' Makefile

# With --examples, of which there are none, cargo switches on what tests switch on of dependencies' features: so wasmtime is compiled
# once for this and for `make test`.
demo: deps # a guided tour of a minute on two pretend machines
	cargo build --workspace --bins --examples
	@tests/in-namespace.sh $(or $(CARGO_TARGET_DIR),target)/debug/demo

demo-tenants: deps # another, of two teams on one machine
	cargo build --workspace --bins --examples
	@tests/in-namespace.sh $(or $(CARGO_TARGET_DIR),target)/debug/demo-tenants

test: check guests # everything: format, lints, the examples of rules, all tests
	@echo '== tests'
	cargo test --workspace --no-fail-fast $(inside)

guests: toolchains # build the examples and recipes of rules, and test them natively; fetches their compilers
	@tests/guests.sh

languages: guests # what the example of a rule costs in each language, as a table for guest-sdk/README.md; builds for release
	cargo build --release --workspace --bins --examples
	@$(or $(CARGO_TARGET_DIR),target)/release/languages $(LANGUAGES)

first-rule: toolchains # time the way to a first rule in each language, from `rule new` to an open port
	cargo build --workspace --bins --examples
	@tests/in-namespace.sh $(or $(CARGO_TARGET_DIR),target)/debug/first-rule $(LANGUAGES)

bench: deps # measure, beside knockd and a bare reader of libpcap; takes minutes
	cargo bench -p posternd $(inside) --bench parts
	cargo bench -p posternd $(inside) --bench wire

systemd: deps # the unit under a real systemd: boots a Debian in a container; needs root, and the network the first time
	cargo build --workspace --bins --examples
	tests/systemd/run

deny: # licences, sources and double versions of the dependencies; builds cargo-deny first if it is missing
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
	cargo deny check licenses bans sources

check: deps # format, lints, and the documentation of the code
	@echo '== format'
	cargo fmt --all --check
	@echo '== lints'
	cargo clippy --workspace --all-targets -- -D warnings
	@echo '== documentation'
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --lib --examples
	@echo '== the client elsewhere'
	@if rustup target list --installed 2>/dev/null | grep -q '^$(windows)$$'; then \
		cargo check -p postern --target $(windows); \
	else echo 'skipped: no target $(windows) here (rustup target add $(windows))'; fi

toolchains: deps
	@tests/toolchains.sh

deps: # install what is missing
	@tests/install.sh
