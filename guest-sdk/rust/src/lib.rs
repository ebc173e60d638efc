//! Write a Postern rule in Rust.
//!
//! A rule is a pure function from one packet, and what is remembered of its sender, to a [`Verdict`]. It has no
//! clock, no files, no sockets and no randomness, and keeps nothing between two calls: the host does, bounded and
//! expiring. This crate turns the WebAssembly contract (`guest-sdk/wit/rule.wit`) into one trait, [`Rule`], and one macro,
//! [`export!`]. It decides nothing itself.
//!
//! A complete rule, which opens for a client that sends the right word to a UDP port three times within ten seconds:
//!
//! ```
//! use std::time::Duration;
//!
//! use postern_sdk::serde_json::{Map, Value};
//! use postern_sdk::{Interest, Knock, Rule, Verdict, Watch};
//!
//! struct ThreeTimes {
//!     word: Vec<u8>,
//! }
//!
//! impl Rule for ThreeTimes {
//!     type Settings = Map<String, Value>; // or any type with `#[derive(serde::Deserialize)]`
//!     type Memory = u8; // how many were right so far
//!
//!     fn configure(settings: Self::Settings) -> Result<(Self, Interest), String> {
//!         let word = settings.get("word").and_then(Value::as_str).ok_or("word is missing; give a text")?;
//!         let interest = Interest::new([Watch::udp(7000)]).payload_limit(64);
//!         Ok((Self { word: word.into() }, interest))
//!     }
//!
//!     fn judge(&self, knock: &Knock, memory: Option<u8>) -> Verdict<u8> {
//!         if knock.payload != self.word {
//!             return if memory.is_some() { Verdict::forget("wrong word") } else { Verdict::Ignore };
//!         }
//!         match memory.unwrap_or(0) + 1 {
//!             3.. => Verdict::open(),
//!             right => Verdict::remember(right.into(), right, knock.time + Duration::from_secs(10)),
//!         }
//!     }
//! }
//!
//! postern_sdk::export!(ThreeTimes);
//!
//! // In a test, without WebAssembly:
//! let said = postern_sdk::testing::rehearse::<ThreeTimes>(
//!     r#"{ "word": "friend" }"#,
//!     "+0.0s 203.0.113.7 udp/7000 payload=friend
//!      +1.0s 203.0.113.7 udp/7000 payload=friend
//!      +2.0s 203.0.113.7 udp/7000 payload=friend",
//! );
//! assert_eq!(
//!     said,
//!     "+0.0s 203.0.113.7 remember 1 until +10.0s\n\
//!      +1.0s 203.0.113.7 remember 2 until +11.0s\n\
//!      +2.0s 203.0.113.7 open\n"
//! );
//! ```
//!
//! `README.md` in this crate's folder says how to build it.

mod rule;

mod interest;
mod knock;
mod memory;
mod time;
mod verdict;

mod host;

pub mod testing;

#[doc(hidden)]
pub mod bridge;

pub use host::{Level, log};
pub use interest::{Destination, Interest, MAX_PAYLOAD, Ports, Prefix, Watch};
pub use knock::{Knock, TcpFlags, TcpHeader, Transport};
pub use memory::{Json, MAX_MEMORY, Memory};
pub use rule::{NoSettings, Rule};
pub use time::Timestamp;
pub use verdict::{CloseRequest, Once, OpenRequest, Progress, Verdict};

/// What settings and [`Json`] memory are read with, so that a rule needs no version of its own.
pub use serde_json;
