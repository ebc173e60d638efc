//! A Landlock domain: what of files, TCP, signals and abstract sockets is left to a process. Owns the ruleset, as strict as the kernel has it.

use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};

/// The newest that these rules were written for. Older kernels enforce what they have of it.
const NEWEST: ABI = ABI::V10;

/// Enters a domain in which only what stands beneath these folders can be opened, and only to be read.
///
/// # Errors
///
/// The reason, in plain words, when there is no domain at all.
pub(crate) fn enter(readable: &[OwnedFd]) -> Result<(), String> {
    let status = restrict(readable).map_err(|error| error.to_string())?;
    match (status.landlock, status.ruleset) {
        (LandlockStatus::NotImplemented, _) => Err("this kernel has none".to_owned()),
        (LandlockStatus::NotEnabled, _) => {
            Err("this kernel has it, but was started without it (kernel parameter `lsm`)".to_owned())
        }
        (_, RulesetStatus::NotEnforced) => Err("the kernel did not enforce it".to_owned()),
        // What an old kernel leaves out is found by trying.
        _ => Ok(()),
    }
}

fn restrict(readable: &[OwnedFd]) -> Result<RestrictionStatus, RulesetError> {
    let reading = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        // Set by the caller, or not at all: then CAP_SYS_ADMIN is needed.
        .no_new_privs(false)
        .add_rules(readable.iter().map(|folder| Ok::<_, RulesetError>(PathBeneath::new(folder, reading))))?
        .restrict_self()
}
