//! VerdictLine: a verdict in words, as a line writes it.

use std::fmt;

use crate::bytes::hex;
use crate::time::Time;

/// A verdict, without what it has the host remember: that is bytes, which mean something to the rule alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerdictLine<'a> {
    /// `ignore`
    Ignore,
    /// `remember 1 until +5.0s`
    Remember(ProgressLine),
    /// `forget: wrong port`
    Forget(&'a str),
    /// `open`, `open ssh for 30s prefix 24, web`, `open and remember 0 until +5.0s`
    Open {
        /// What for.
        requests: Vec<OpenLine<'a>>,
        /// What is remembered from then on.
        remember: Option<ProgressLine>,
    },
    /// `close`, `close web prefix 64`
    Close {
        /// What for.
        requests: Vec<CloseLine<'a>>,
        /// What is remembered from then on.
        remember: Option<ProgressLine>,
    },
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressLine {
    /// Its stage.
    pub stage: u32,
    /// Microseconds since 1970.
    pub until: u64,
}

/// A wish to open a door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenLine<'a> {
    /// None: the rule's first one.
    pub door: Option<&'a str>,
    /// None: as long as the rule's file says.
    pub seconds: Option<u64>,
    /// None: for the source alone.
    pub prefix_length: Option<u8>,
    /// What may be used but once.
    pub once: Option<OnceLine<'a>>,
}

/// A wish to close a door.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseLine<'a> {
    /// None: the rule's first one.
    pub door: Option<&'a str>,
    /// None: for the source alone.
    pub prefix_length: Option<u8>,
}

/// What may be used but once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnceLine<'a> {
    /// `once token 6162 until +60.0s`
    Token {
        /// Which.
        bytes: &'a [u8],
        /// Microseconds since 1970; none: for ever.
        until: Option<u64>,
    },
    /// `once counter 6b at 5`
    Counter {
        /// Which.
        key: &'a [u8],
        /// How far it is.
        value: u64,
    },
}

impl fmt::Display for VerdictLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remember = match self {
            Self::Ignore => return f.write_str("ignore"),
            Self::Remember(progress) => return progress.fmt(f),
            Self::Forget(reason) => return write!(f, "forget: {reason}"),
            Self::Open { requests, remember } => {
                doors(f, "open", requests)?;
                remember
            }
            Self::Close { requests, remember } => {
                doors(f, "close", requests)?;
                remember
            }
        };
        remember.map_or(Ok(()), |progress| write!(f, " and {progress}"))
    }
}

impl fmt::Display for ProgressLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "remember {} until {}", self.stage, Time(self.until))
    }
}

impl fmt::Display for OpenLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = self.door.iter().map(|door| (*door).to_owned()).collect();
        words.extend(self.seconds.map(|seconds| format!("for {seconds}s")));
        words.extend(self.prefix_length.map(|length| format!("prefix {length}")));
        words.extend(self.once.as_ref().map(ToString::to_string));
        f.write_str(&words.join(" "))
    }
}

impl fmt::Display for CloseLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { door, prefix_length } = *self;
        OpenLine { door, prefix_length, ..OpenLine::default() }.fmt(f)
    }
}

impl fmt::Display for OnceLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { bytes, until: None } => write!(f, "once token {}", hex(bytes)),
            Self::Token { bytes, until: Some(until) } => {
                write!(f, "once token {} until {}", hex(bytes), Time(*until))
            }
            Self::Counter { key, value } => write!(f, "once counter {} at {value}", hex(key)),
        }
    }
}

fn doors(f: &mut fmt::Formatter<'_>, verb: &str, doors: &[impl ToString]) -> fmt::Result {
    let doors: Vec<_> = doors.iter().map(ToString::to_string).collect();
    match doors.as_slice() {
        [] => write!(f, "{verb} no door"),
        [only] if only.is_empty() => f.write_str(verb),
        all => write!(f, "{verb} {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ORIGIN;

    #[test]
    fn verdicts_are_put_into_words() {
        let progress = Some(ProgressLine { stage: 0, until: ORIGIN + 5_500_000 });
        let ssh = OpenLine { door: Some("ssh"), seconds: Some(30), prefix_length: Some(24), once: None };
        let token = OnceLine::Token { bytes: b"ab", until: Some(ORIGIN) };
        let counter = OnceLine::Counter { key: b"k", value: 5 };
        let once = |once| OpenLine { once: Some(once), ..OpenLine::default() };
        for (verdict, words) in [
            (VerdictLine::Ignore, "ignore"),
            (VerdictLine::Forget("wrong port"), "forget: wrong port"),
            (VerdictLine::Open { requests: vec![], remember: None }, "open no door"),
            (VerdictLine::Open { requests: vec![OpenLine::default()], remember: None }, "open"),
            (
                VerdictLine::Open { requests: vec![ssh, once(token), once(counter)], remember: progress },
                "open ssh for 30s prefix 24, once token 6162 until +0.0s, once counter 6b at 5 and remember 0 until +5.5s",
            ),
            (
                VerdictLine::Close {
                    requests: vec![CloseLine { door: None, prefix_length: Some(64) }],
                    remember: None,
                },
                "close prefix 64",
            ),
        ] {
            assert_eq!(verdict.to_string(), words);
        }
    }
}
