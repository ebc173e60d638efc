//! Finding: what a look has found, and what to do about it.

/// What follows from something that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FindingSeverity {
    /// Something will not work, or a guarded port is open.
    Problem,
    /// Something may not work, or will not when another thing happens.
    Warning,
    /// Good to know.
    Note,
}

impl FindingSeverity {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: FindingSeverity,
    pub(super) what: String,
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: FindingSeverity::Problem, what: what.into(), remedy: remedy.into() }
    }

    pub(super) fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: FindingSeverity::Warning, what: what.into(), remedy: remedy.into() }
    }

    pub(super) fn note(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: FindingSeverity::Note, what: what.into(), remedy: remedy.into() }
    }
}

/// Why a look could not be done, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotLooked {
    pub(super) why: String,
    pub(super) remedy: String,
}

impl NotLooked {
    pub(super) fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: remedy.into() }
    }

    /// It takes rights.
    pub(super) fn for_want_of_root() -> Self {
        Self::new("that takes root", "run it as root")
    }
}

/// What came of a look: nothing found is all well.
pub(super) type Looked = Result<Vec<Finding>, NotLooked>;

/// One look.
pub(super) struct Look {
    pub(super) name: &'static str,
    pub(super) found: Looked,
}

impl Look {
    /// What it has to say. That it could not be done is a note.
    pub(super) fn findings(self) -> Vec<Finding> {
        let Self { name, found } = self;
        found.unwrap_or_else(|NotLooked { why, remedy }| {
            vec![Finding::note(format!("{name}: not looked at: {why}"), remedy)]
        })
    }
}

/// What a look has found, a line each, as tests write it.
#[cfg(test)]
pub(super) fn lines(found: &[Finding]) -> String {
    let line =
        |Finding { severity, what, remedy }: &Finding| format!("{}: {what}; {remedy}\n", severity.name());
    found.iter().map(line).collect()
}
