//! Builds Rust rules to WebAssembly with whatever toolchain is there.
