//! Which capabilities a process has. Owns all five sets of them (permitted, effective, inheritable, ambient, bounding) and the secure
//! bits, and gives none that was not there.

use rustix::io::{Errno, Result};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits, set_keep_capabilities,
};

/// What this process may do now.
pub(crate) fn permitted() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted)
}

/// Whether a capability is not only permitted but in force.
pub(crate) fn is_effective(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// The first half, as long as the old rights last: nothing that is executed later can get a capability back, and those that are kept
/// outlive the change of user.
///
/// # Errors
///
/// `EPERM` without `CAP_SETPCAP`, if there is anything in the bounding set that is not kept.
pub(crate) fn bound(kept: CapabilitySet) -> Result<()> {
    // Kernels before 4.3 have no ambient set, so they have nothing in it.
    let _ = clear_ambient_capability_set();
    set_keep_capabilities(true)?;
    for capability in known() {
        if !kept.contains(capability) && capability_is_in_bounding_set(capability)? {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    // User 0 is a user like another, and nothing enters the ambient set, for good. KEEP_CAPS stays open, since it is cleared below.
    // Without CAP_SETPCAP this fails; behind a bounding set that is as small as it should be, nothing rests on it.
    let _ = set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    );
    Ok(())
}

/// The second half, after the change of user: what is kept, and had, is permitted and in force; nothing is inheritable.
pub(crate) fn keep_only(kept: CapabilitySet) -> Result<()> {
    let had = capabilities(None)?.permitted;
    let left = CapabilitySet::from_bits_retain(had.bits() & kept.bits());
    set_capabilities(
        None,
        CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() },
    )?;
    set_keep_capabilities(false)?;
    let now = capabilities(None)?;
    let is_done = now.permitted == left && now.effective == left && now.inheritable.is_empty();
    if is_done { Ok(()) } else { Err(Errno::PERM) }
}

/// Every capability that this kernel knows, one at a time.
fn known() -> impl Iterator<Item = CapabilitySet> {
    let each = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    // The kernel refuses to speak of one that it does not know.
    each.take_while(|capability| capability_is_in_bounding_set(*capability).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_its_capabilities() {
        let count = known().count();
        assert!((38..64).contains(&count), "{count}");
    }
}
