//! MistakeList: mistakes in messages between processes. Mistakes themselves know nothing of messages, as their crate is for clients and rules
//! as well.
//!
//! For `#[serde(with = "...")]`.

use std::path::PathBuf;

use postern_text::Mistake;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A [`Mistake`], field by field.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Mistake")]
struct Fields {
    #[serde(with = "postern_core::os_text")]
    file: PathBuf,
    line: Option<usize>,
    key: String,
    what: String,
}

#[derive(Serialize)]
struct Written<'a>(#[serde(with = "Fields")] &'a Mistake);

#[derive(Deserialize)]
struct Read(#[serde(with = "Fields")] Mistake);

/// Writes mistakes in their order.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(mistakes: &[Mistake], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(mistakes.iter().map(Written))
}

/// Reads mistakes in their order.
///
/// # Errors
/// If they are no list of mistakes.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Mistake>, D::Error> {
    Ok(Vec::<Read>::deserialize(deserializer)?.into_iter().map(|Read(mistake)| mistake).collect())
}

/// The same for the mistakes of each tenant.
pub mod by_tenant {
    use std::collections::BTreeMap;

    use postern_core::TenantId;
    use postern_text::Mistake;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize)]
    struct Written<'a>(#[serde(with = "super")] &'a Vec<Mistake>);

    #[derive(Deserialize)]
    struct Read(#[serde(with = "super")] Vec<Mistake>);

    /// Writes them.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        mistakes: &BTreeMap<TenantId, Vec<Mistake>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(mistakes.iter().map(|(tenant, mistakes)| (tenant, Written(mistakes))))
    }

    /// Reads them.
    ///
    /// # Errors
    /// If they are no mistakes by tenant.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<TenantId, Vec<Mistake>>, D::Error> {
        let read = BTreeMap::<TenantId, Read>::deserialize(deserializer)?;
        Ok(read.into_iter().map(|(tenant, Read(mistakes))| (tenant, mistakes)).collect())
    }
}
