//! Doctor: looks at this machine and says what will keep the daemon from its work, or a client from the door. It changes nothing, sends nothing
//! and needs no daemon.
//!
//! Each look is a file: it gathers facts, and judges them by a function of these alone. What `posternd check` warns of is said in the
//! same words, which are those of `advice`.

mod barriers;
mod barriers_role;
mod clock;
mod configuration;
mod daemons;
mod families;
mod finding;
mod firewalls;
mod folders;
mod guarded;
mod inotify;
mod interfaces;
mod nftables;
mod steps;
mod told;
mod unit;

pub(crate) use barriers_role::run as run_barriers;

use std::net::IpAddr;
use std::path::Path;

use postern_config::{Config, DoorKind, Mistakes, PosternToml};
use postern_core::{GuardDoor, NetDoor, PortRange};
use postern_doorman::{OtherFilters, check_sets};
use postern_sandbox::Generation;
use rustix::process::geteuid;

use crate::check::{self, NOT_STARTED, TriedConfig};
use crate::cli::DoctorArgs;
use crate::exit::Exit;
use crate::listeners::Listeners;
use finding::{Look, Looked};
use told::tell;

/// What is looked at.
struct DoctorSubject<'a> {
    file: &'a Path,
    config: &'a Config,
    /// None if a rule cannot be loaded.
    generation: Option<&'a Generation>,
    listeners: &'a Listeners,
    /// Which client's packets other firewalls are tried with; none: anybody's.
    from: Option<IpAddr>,
    is_root: bool,
}

/// Looks at everything, and says what it found.
///
/// # Errors
/// If the system does not let us look at all, or standard output is closed.
pub fn doctor(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let (file, trust) = (&args.file.config, args.file.trust());
    let source = PosternToml::new(file.clone(), trust);
    let TriedConfig { config, generation, mut mistakes, .. } = check::try_out(source.clone())?;
    // Without the right to look at sets nothing can be said against them.
    let filters = OtherFilters::read();
    if let (Some(config), Ok(_)) = (&config, &filters) {
        mistakes.extend(config.door_mistakes(file, check_sets));
    }
    let is_root = geteuid().is_root();
    let mut looks = vec![
        look("clock", clock::look),
        look("inotify", inotify::look),
        look("unit", || unit::look(config.as_ref())),
        look("knockd", daemons::look_for_knockd),
        look("state folder", folders::look_at_state),
        look("cache folder", folders::look_at_cache),
    ];
    if let Some(config) = &config {
        let listeners = Listeners::read();
        let (generation, listeners, from) = (generation.as_ref(), &listeners, args.from);
        let subject = DoctorSubject { file, config, generation, listeners, from, is_root };
        looks.extend([
            look("configuration", || configuration::look(&source, config)),
            look("barriers", || barriers::look(&subject)),
            look("nftables", || nftables::look(&subject, &filters)),
            look("other daemons", || daemons::look(&subject)),
            look("other firewalls", || firewalls::look(&subject, filters)),
            look("guarded ports", || guarded::look(&subject)),
            look("steps", || steps::look(&subject)),
            look("interfaces", || interfaces::look(config)),
            look("address families", || families::look(config)),
        ]);
    }
    let exit = tell(looks, args.json)?;
    if mistakes.is_empty() {
        return Ok(exit);
    }
    check::tell(&Mistakes::new(mistakes), NOT_STARTED)?;
    Ok(Exit::Usage)
}

fn look(name: &'static str, look: impl FnOnce() -> Looked) -> Look {
    Look { name, found: look() }
}

impl DoctorSubject<'_> {
    /// The guard doors.
    fn guards(&self) -> impl Iterator<Item = &GuardDoor> {
        self.config.doors.values().filter_map(|door| match &door.kind {
            DoorKind::Net(NetDoor::Guard(guard)) => Some(guard),
            _ => None,
        })
    }

    /// Their ports, each with its door's name.
    fn guarded(&self) -> impl Iterator<Item = (&str, PortRange)> {
        self.guards().flat_map(|guard| guard.ports.iter().map(|range| (&*guard.name, *range)))
    }
}
