//! The stock rule: a sequence of ports.
