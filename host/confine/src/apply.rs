//! The one call that takes away what a process does not keep. Owns the order in which it is done.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, set_no_new_privs};

use crate::account::Account;
use crate::confinement::{Capabilities, Confinement, Files};
use crate::held::{Barrier, Held};
use crate::limits::Limits;
use crate::proof::Proof;
use crate::status::Status;
use crate::{capabilities, landlock_domain};

/// Why a process was not confined. It has all its rights still, unless the cause says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ConfinementError {
    /// What was given up would be given up by this thread only.
    #[error(
        "the process has {threads} threads, and only one of them would be confined; confine it before it starts another"
    )]
    Threads {
        /// How many there are.
        threads: String,
    },
    /// Asks for what the kernel gives only together.
    #[error(
        "a list of system calls needs no_new_privs; let the process not gain privileges, or give it no list"
    )]
    Contradiction,
}

impl Confinement {
    /// Takes away what is not kept, tries what must fail now, and says what holds. It cannot be undone.
    ///
    /// A barrier that cannot be put up does not keep the others down: it is in [`Held::missing`], and whether the process goes on is for the
    /// caller to say.
    ///
    /// # Errors
    ///
    /// Before anything was given up: when the process has more than one thread, or asks for what cannot be had together.
    pub fn apply(self) -> Result<Held, ConfinementError> {
        if self.may_gain_privileges && self.system_calls.is_some() {
            return Err(ConfinementError::Contradiction);
        }
        let status = Status::open();
        let threads = status.as_ref().and_then(|status| status.value("Threads"));
        match threads {
            Some(threads) if threads != "1" => return Err(ConfinementError::Threads { threads }),
            // Without /proc nobody can count. The list of system calls reaches all threads; the rest is as the caller promised.
            _ => {}
        }
        let mut held = Held::default();
        // What is tried later is prepared while it can still be had.
        let proof = Proof::prepare(&self);
        limit(&self.limits, &mut held);
        self.change_user_and_capabilities(&mut held);
        if !self.may_gain_privileges {
            held.note(Barrier::NoNewPrivileges, set_no_new_privs(true).map_err(|error| error.to_string()));
        }
        // Both are undone by a change of user, so they come after it.
        let dumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        held.note(Barrier::NotDumpable, dumpable.map_err(|error| error.to_string()));
        let end = set_parent_process_death_signal(Some(Signal::KILL));
        held.note(Barrier::EndsWithParent, end.map_err(|error| error.to_string()));
        if let Files::Readable(folders) = &self.files {
            held.note(Barrier::Landlock, landlock_domain::enter(folders));
        }
        // First without the list, so that each barrier is tried and not only the outermost.
        proof.try_rights(&mut held);
        if let Some(list) = self.system_calls {
            held.note(Barrier::SystemCalls, list.apply());
        }
        proof.try_reach(&mut held);
        proof.compare(status.as_ref(), &mut held);
        Ok(held)
    }
}

impl Confinement {
    /// One subject, since each half of the one needs a half of the other: capabilities outlive the change of user only if it is announced,
    /// and are dropped for good only behind it.
    fn change_user_and_capabilities(&self, held: &mut Held) {
        if let Capabilities::Only(kept) = self.capabilities {
            held.note(
                Barrier::BoundingSet,
                capabilities::bound(kept).map_err(|error| match error {
                    Errno::PERM => "without CAP_SETPCAP it stays as it is".to_owned(),
                    other => other.to_string(),
                }),
            );
        }
        match self.change_user() {
            Err(_) if self.may_share_user => {}
            outcome => held.note(Barrier::Account, outcome),
        }
        if let Capabilities::Only(kept) = self.capabilities {
            let dropped = capabilities::keep_only(kept);
            held.note(Barrier::Capabilities, dropped.map_err(|error| error.to_string()));
        }
        held.set_capabilities(capabilities::permitted());
    }

    fn change_user(&self) -> Result<(), String> {
        if self.account.is_entered() {
            let uid = self.account.uid;
            return Err(format!(
                "stays user {uid}, who started it: `user` names no other, and no other is called `postern`"
            ));
        }
        if !capabilities::is_effective(CapabilitySet::SETUID | CapabilitySet::SETGID) {
            return Err(format!(
                "stays user {}: without CAP_SETUID and CAP_SETGID it cannot become user {}",
                Account::own().uid,
                self.account.uid
            ));
        }
        self.account.enter().map_err(|error| {
            format!("stays user {}: to become user {} fails: {error}", Account::own().uid, self.account.uid)
        })
    }
}

fn limit(limits: &Limits, held: &mut Held) {
    let failed = limits.apply();
    let outcome = match failed.first() {
        None => Ok(()),
        Some((name, error)) => Err(format!("{name}: {error}")),
    };
    held.note(Barrier::Limits, outcome);
}
