//! Refusal: why a request was not answered.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{CallError, INTERFACE, SERVICE};

/// Why a request was not answered, in words for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "name", content = "parameters")]
pub enum Refusal {
    /// The asker may not ask this, or anything.
    #[error("user {uid} may not ask for {what}; {remedy}")]
    NotAllowed {
        /// The user that asks, by number.
        uid: u32,
        /// What was asked for.
        what: String,
        /// Who may.
        remedy: String,
    },
    /// There is no such thing; what there is.
    #[error("there is no {kind} {name:?}; {there_are}")]
    NotFound {
        /// `door`, `tenant` or `rule`.
        kind: String,
        /// How it was called.
        name: String,
        /// What there is, as the end of a sentence.
        there_are: String,
    },
    /// It cannot be done, and why.
    #[error("{why}")]
    NotDone {
        /// In words.
        why: String,
    },
    /// The new configuration has mistakes; the one in force goes on.
    #[error("the configuration has {}, and generation {generation} goes on", counted(.mistakes.len()))]
    Mistakes {
        /// The generation that goes on.
        generation: u64,
        /// Each with its place.
        mistakes: Vec<String>,
    },
    /// More is asked than is answered.
    #[error("{why}")]
    Busy {
        /// What there is too much of, and how much is answered.
        why: String,
    },
    /// There is no such interface.
    #[error("this daemon has no interface {interface}")]
    InterfaceNotFound {
        /// Its name.
        interface: String,
    },
    /// There is no such method.
    #[error("this daemon has no method {method}; it may be older than what asks it")]
    MethodNotFound {
        /// Its full name.
        method: String,
    },
    /// A parameter is wrong.
    #[error("{parameter}")]
    InvalidParameter {
        /// Which, and what is wrong with it.
        parameter: String,
    },
    /// The request has more than one answer, and was asked for one.
    #[error("ask with `more`: the answer has no end")]
    ExpectedMore {},
    /// A refusal that is not known here.
    #[error("{name}: {parameters}")]
    #[serde(skip)]
    Other {
        /// Its full name.
        name: String,
        /// What comes with it.
        parameters: Value,
    },
}

/// So many mistakes.
fn counted(mistakes: usize) -> String {
    if mistakes == 1 { "1 mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

impl Refusal {
    /// The full name of its error.
    #[must_use]
    pub fn name(&self) -> String {
        let (interface, name) = match self {
            Self::NotAllowed { .. } => (INTERFACE, "NotAllowed"),
            Self::NotFound { .. } => (INTERFACE, "NotFound"),
            Self::NotDone { .. } => (INTERFACE, "NotDone"),
            Self::Mistakes { .. } => (INTERFACE, "Mistakes"),
            Self::Busy { .. } => (INTERFACE, "Busy"),
            Self::InterfaceNotFound { .. } => (SERVICE, "InterfaceNotFound"),
            Self::MethodNotFound { .. } => (SERVICE, "MethodNotFound"),
            Self::InvalidParameter { .. } => (SERVICE, "InvalidParameter"),
            Self::ExpectedMore {} => (SERVICE, "ExpectedMore"),
            Self::Other { name, .. } => return name.clone(),
        };
        format!("{interface}.{name}")
    }

    pub(crate) fn parameters(&self) -> Value {
        if let Self::Other { parameters, .. } = self {
            return parameters.clone();
        }
        // There is nothing in them that cannot be written.
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["parameters"].take()
    }

    pub(crate) fn read(full_name: &str, parameters: Map<String, Value>) -> Self {
        let (_, name) = full_name.rsplit_once('.').unwrap_or(("", full_name));
        serde_json::from_value(json!({ "name": name, "parameters": parameters })).unwrap_or_else(|_| {
            Self::Other { name: full_name.to_owned(), parameters: Value::Object(parameters) }
        })
    }
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Interface(interface) => Self::InterfaceNotFound { interface },
            CallError::Method(method) => Self::MethodNotFound { method },
            CallError::Malformed(parameter) | CallError::Parameter(parameter) => {
                Self::InvalidParameter { parameter }
            }
        }
    }
}
