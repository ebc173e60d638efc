//! Harness and tests above unit level.
