//! Write a Postern rule in Rust.
