//! Rule: what an author writes. It says nothing of how calls reach it; see `bridge`.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Interest, Knock, Memory, Verdict};

/// A knock profile.
///
/// The host may run many instances of a rule at once, on several threads, and may drop one and make another
/// between any two calls. So a rule must not change after [`Rule::configure`].
pub trait Rule: Sized + 'static {
    /// What the rule's file holds under `[settings]`: `{}` if nothing. [`NoSettings`] for a rule without;
    /// [`serde_json::Map`] to look at the keys by hand, for example to report all mistakes at once.
    type Settings: DeserializeOwned;

    /// What the host keeps of a client between two of its knocks. `()` for a rule that needs one knock only.
    type Memory: Memory;

    /// Reads the settings and says which packets the rule wants to see. The same settings must give the same answer.
    ///
    /// # Errors
    ///
    /// A text for the author of the settings: what is wrong, and what would be right. Each line is a mistake of its own; it is shown at
    /// the setting that it begins with, as in `within: 2h is too long`.
    fn configure(settings: Self::Settings) -> Result<(Self, Interest), String>;

    /// Says what one knock means. `memory` is what the rule last remembered of this source, unless that expired.
    fn judge(&self, knock: &Knock, memory: Option<Self::Memory>) -> Verdict<Self::Memory>;
}

/// Settings of a rule that has none: anything under `[settings]` is a mistake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Reads the JSON text that the host hands over, and configures a rule with it.
pub(crate) fn configure<R: Rule>(settings: &str) -> Result<(R, Interest), String> {
    let settings = serde_json::from_str(settings).map_err(|error| without_place(&error))?;
    R::configure(settings)
}

/// The error without `at line 1 column 9`, which refers to JSON that the author of the settings never saw.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;

    impl Rule for Plain {
        type Settings = NoSettings;
        type Memory = ();

        fn configure(NoSettings {}: NoSettings) -> Result<(Self, Interest), String> {
            Ok((Self, Interest::new([])))
        }

        fn judge(&self, _: &Knock, _: Option<()>) -> Verdict<()> {
            Verdict::Ignore
        }
    }

    #[test]
    fn a_rule_without_settings_takes_none() {
        assert!(configure::<Plain>("{}").is_ok());
        let refusal = configure::<Plain>(r#"{"port":1}"#).err();
        assert_eq!(refusal.as_deref(), Some("unknown field `port`, there are no fields"));
    }
}
