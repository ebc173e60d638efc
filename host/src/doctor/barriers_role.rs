//! BarriersRole: a process that gives up what an engine gives up, says what of it holds here, and ends. It gets nothing else to do.

use std::process::{Child, Stdio};
use std::time::Duration;

use postern_config::ProcessUser;
use postern_confine::{Account, Confinement, Missing};
use postern_link::Talk;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use serde::{Deserialize, Serialize};

use crate::role::{OwnProgram, Role};
use crate::roles::engine;

/// How long such a process may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of a message.
const MOST: usize = 16 * 1024;

/// As whom to try.
#[derive(Debug, Serialize, Deserialize)]
struct TryAs {
    account: Option<(u32, u32)>,
}

/// Barriers that do not hold here, each with its cause.
#[derive(Debug, Serialize, Deserialize)]
struct MissingHere(Vec<(String, String)>);

/// Has it tried what holds here around an engine of this user; each barrier that is missing, with its cause.
///
/// # Errors
/// If there can be no such process, or it does not answer.
pub(super) fn missing(user: Option<ProcessUser>) -> anyhow::Result<Vec<(String, String)>> {
    // The command names it by a descriptor.
    let program = OwnProgram::open()?;
    let (mut command, talk) = program.command(Role::Barriers)?;
    let child = EndedWithIt(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    // Ours would keep the talk open.
    drop(command);
    let (sender, mut receiver) = talk.split(Some(PATIENCE))?;
    set_socket_timeout(&receiver, Timeout::Recv, Some(PATIENCE))?;
    sender.send(&TryAs { account: user.map(|user| (user.uid, user.gid)) }, &[])?;
    let answer = receiver.receive::<MissingHere>(MOST)?;
    drop(child);
    let (MissingHere(missing), _) = answer.ok_or_else(|| anyhow::anyhow!("it ended without an answer"))?;
    Ok(missing)
}

/// Is that process.
///
/// # Errors
/// If the one that started it does not make sense, or nothing can be given up.
pub(crate) fn run() -> anyhow::Result<()> {
    let (sender, mut receiver) = Talk::of_standard_input()?.split(Some(PATIENCE))?;
    let Some((TryAs { account }, _)) = receiver.receive::<TryAs>(MOST)? else { return Ok(()) };
    let account = account.map_or_else(Account::own, |(uid, gid)| Account { uid, gid });
    let held = Confinement { account, ..engine::confinement() }.apply()?;
    let missing =
        held.missing().iter().map(|Missing { barrier, cause }| (barrier.to_string(), cause.clone()));
    Ok(sender.send(&MissingHere(missing.collect()), &[])?)
}

/// A process that is ended and reaped when this is dropped.
struct EndedWithIt(Child);

impl Drop for EndedWithIt {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
