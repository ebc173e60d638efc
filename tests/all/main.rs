//! Everything that can be tested in one process: rules under wasmtime, guests that misbehave, configurations.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may fail by panicking, and explains itself")]

mod asked;
mod configuration;
mod documents;
mod everything;
mod examples;
mod exceptions;
mod flags;
mod golden;
mod grants;
mod guests;
mod imports;
mod last_words;
mod layout_page;
mod layouts;
mod loading;
mod modules;
mod probe;
mod published;
mod recipes;
mod reload;
mod replay;
mod rule_new;
mod rule_tools;
mod scenario;
mod shares;
mod tenants;
mod types;
mod world;
