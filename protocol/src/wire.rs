//! Wire: messages in a stream of bytes, and the answers among them.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{Refusal, Reply};

/// What ends a message.
const END: u8 = 0;

/// A message as it goes over the socket.
#[must_use]
pub fn message(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(END);
    bytes
}

/// Finds the messages in what comes over a socket, however it is cut.
#[derive(Debug)]
pub struct MessageReader {
    bytes: Vec<u8>,
    /// So many of them were looked through.
    searched: usize,
    longest: usize,
}

/// A message does not end where it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a message of more than {longest} bytes")]
pub struct Cut {
    /// The longest message.
    pub longest: usize,
}

impl MessageReader {
    /// Reads messages of at most so many bytes.
    #[must_use]
    pub const fn new(longest: usize) -> Self {
        Self { bytes: Vec::new(), searched: 0, longest }
    }

    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether so much waits that nothing more should be read before it is taken.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes.len() > self.longest
    }

    /// The next whole message; none if more must come first.
    ///
    /// # Errors
    /// If it is too long already.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, Cut> {
        let found = self.bytes[self.searched..].iter().position(|byte| *byte == END);
        let Some(length) = found.map(|at| self.searched + at) else {
            self.searched = self.bytes.len();
            let is_cut = self.bytes.len() > self.longest;
            return if is_cut { Err(Cut { longest: self.longest }) } else { Ok(None) };
        };
        if length > self.longest {
            return Err(Cut { longest: self.longest });
        }
        let mut message: Vec<u8> = self.bytes.drain(..=length).collect();
        message.pop();
        self.searched = 0;
        Ok(Some(message))
    }
}

/// What the daemon answers to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// What was asked for.
    Reply {
        /// That.
        reply: Reply,
        /// Whether there is more to come.
        continues: bool,
    },
    /// Why not.
    Refusal(Refusal),
}

#[derive(Deserialize)]
struct RawAnswer {
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(default)]
    continues: bool,
    error: Option<String>,
}

impl Answer {
    /// The message.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Reply { reply, continues: false } => json!({ "parameters": reply.parameters() }),
            Self::Reply { reply, continues: true } => {
                json!({ "parameters": reply.parameters(), "continues": true })
            }
            Self::Refusal(refusal) => {
                json!({ "error": refusal.name(), "parameters": refusal.parameters() })
            }
        }
    }

    /// Reads the answer to a request of this method; what is of a newer daemon and unknown here is left out.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(method: &str, message: &[u8]) -> Result<Self, String> {
        let RawAnswer { parameters, continues, error } =
            serde_json::from_slice(message).map_err(|error| error.to_string())?;
        Ok(match error {
            Some(name) => Self::Refusal(Refusal::read(&name, parameters)),
            None => Self::Reply { reply: Reply::read(method, parameters)?, continues },
        })
    }
}
