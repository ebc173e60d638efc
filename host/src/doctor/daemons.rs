//! Daemons: others that would be in the way of this one, or open what it closes.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use postern_config::config_identity;
use postern_doorman::{DoormanError, Standing, standing};

use super::DoctorSubject;
use super::finding::{Finding, Looked, NotLooked};
use crate::control::socket_path;

/// What to do if two daemons want one socket.
const OWN_SOCKET: &str = "give each daemon a socket of its own, or none: [control] socket";

/// What is at the path of the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtSocket {
    /// Nothing, or what a daemon that is gone left.
    Nothing,
    /// A daemon that answers.
    Daemon,
    /// Something else.
    NoSocket,
}

pub(super) fn look(subject: &DoctorSubject<'_>) -> Looked {
    if !subject.is_root {
        return Err(NotLooked::for_want_of_root());
    }
    let standing = standing(&config_identity(subject.file));
    let socket = socket_path(&subject.config.control);
    let at_socket = socket.as_deref().map_or(AtSocket::Nothing, at_socket);
    Ok(judge(standing, subject.guards().next().is_some(), socket.as_deref(), at_socket))
}

pub(super) fn look_for_knockd() -> Looked {
    Ok(knockd(&running_knockds()))
}

fn judge(
    standing: Result<Standing, DoormanError>,
    has_guards: bool,
    socket: Option<&Path>,
    at_socket: AtSocket,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let (is_running, is_anothers) =
        (matches!(standing, Ok(Standing::Kept)), matches!(standing, Err(DoormanError::Owned(_))));
    // The table is nobody's business who guards nothing.
    if has_guards && let Err(error) = standing {
        let remedy = match &error {
            DoormanError::Owned(_) => {
                "two daemons cannot guard ports on one machine: put all doors into one configuration"
            }
            DoormanError::OtherConfiguration(_) => "after a configuration has moved, that is its old path",
            // What is said of nftables is said there.
            _ => "see what is said of nftables",
        };
        found.push(Finding::problem(error.to_string(), remedy));
    }
    if let Some(socket) = socket {
        let shown = socket.display();
        match at_socket {
            AtSocket::Daemon if is_anothers => found.push(Finding::warning(
                format!("another daemon answers at {shown}: this one would run without being asked"),
                OWN_SOCKET,
            )),
            AtSocket::Daemon if !is_running => found.push(Finding::note(
                format!(
                    "a daemon answers at {shown}: if it is not this configuration's, this one would run without being asked"
                ),
                OWN_SOCKET,
            )),
            AtSocket::NoSocket => found.push(Finding::warning(
                format!("{shown} is there and no socket: the daemon cannot be asked there"),
                "remove it, or name another path: [control] socket",
            )),
            AtSocket::Daemon | AtSocket::Nothing => {}
        }
    }
    found
}

/// A daemon locks the file beside its socket as long as it lives.
fn at_socket(path: &Path) -> AtSocket {
    match fs::symlink_metadata(path) {
        Err(_) => return AtSocket::Nothing,
        Ok(found) if !found.file_type().is_socket() => return AtSocket::NoSocket,
        Ok(_) => {}
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let is_held = File::open(path.with_file_name(name))
        .is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)));
    if is_held { AtSocket::Daemon } else { AtSocket::Nothing }
}

/// Numbers of processes that run the original.
fn knockd(running: &[u32]) -> Vec<Finding> {
    let [first, ..] = running else { return Vec::new() };
    vec![Finding::warning(
        format!(
            "knockd runs beside (process {first}): it hears the same knocks, and opens what its knockd.conf says"
        ),
        "stop it, and have `posternd knockd --convert` print its doors in this form",
    )]
}

fn running_knockds() -> Vec<u32> {
    let link = |process: &Path, name: &str| fs::read_link(process.join(name)).ok();
    let own = ["exe", "ns/net"].map(|name| link(Path::new("/proc/self"), name));
    let mut found: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|process| {
            let number = process.file_name().to_str()?.parse().ok()?;
            let process = process.path();
            let name = fs::read_to_string(process.join("comm")).ok()?;
            let [program, network] = ["exe", "ns/net"].map(|name| link(&process, name));
            // This program may be called so as well, and one in a container hears what comes to the container.
            let is_another = program.is_none() || program != own[0];
            let is_here = network.is_none() || network == own[1];
            // One that has ended, and that nobody waits for, has no arguments.
            let is_alive = fs::read(process.join("cmdline")).is_ok_and(|words| !words.is_empty());
            (name.trim_end() == "knockd" && is_another && is_here && is_alive).then_some(number)
        })
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use expect_test::{Expect, expect};
    use postern_core::ConfigIdentity;

    use super::*;
    use crate::doctor::finding::lines;

    fn check(standing: Result<Standing, DoormanError>, at_socket: AtSocket, expected: Expect) {
        let socket = Path::new("/run/postern/control.sock");
        expected.assert_eq(&lines(&judge(standing, true, Some(socket), at_socket)));
    }

    #[test]
    fn who_is_in_the_way_is_said() {
        let other = || ConfigIdentity::new("12ab", "/etc/other.toml");
        check(Ok(Standing::Kept), AtSocket::Daemon, expect![[""]]);
        check(Ok(Standing::Left), AtSocket::Nothing, expect![[""]]);
        check(
            Ok(Standing::Absent),
            AtSocket::Daemon,
            expect![[r#"
                note: a daemon answers at /run/postern/control.sock: if it is not this configuration's, this one would run without being asked; give each daemon a socket of its own, or none: [control] socket
            "#]],
        );
        check(
            Err(DoormanError::Owned(Some(other()))),
            AtSocket::NoSocket,
            expect![[r#"
                problem: another posternd owns the table inet postern for the configuration /etc/other.toml; stop it first; two daemons cannot guard ports on one machine: put all doors into one configuration
                warning: /run/postern/control.sock is there and no socket: the daemon cannot be asked there; remove it, or name another path: [control] socket
            "#]],
        );
        check(
            Err(DoormanError::Owned(None)),
            AtSocket::Daemon,
            expect![[r#"
            problem: another posternd owns the table inet postern; stop it first; two daemons cannot guard ports on one machine: put all doors into one configuration
            warning: another daemon answers at /run/postern/control.sock: this one would run without being asked; give each daemon a socket of its own, or none: [control] socket
        "#]],
        );
        check(
            Err(DoormanError::OtherConfiguration(other())),
            AtSocket::Nothing,
            expect![[r#"
                problem: the table inet postern guards ports for another configuration, /etc/other.toml; start its daemon, or give its ports up with `posternd reset --config /etc/other.toml`; after a configuration has moved, that is its old path
            "#]],
        );
        assert_eq!(judge(Err(DoormanError::Owned(None)), false, None, AtSocket::Nothing), []);
    }

    #[test]
    fn a_socket_is_held_as_long_as_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        assert_eq!(at_socket(&path), AtSocket::Nothing);
        let lock = File::create(folder.path().join("control.sock.lock")).unwrap();
        let socket = UnixListener::bind(&path).unwrap();
        assert_eq!(at_socket(&path), AtSocket::Nothing);
        lock.try_lock().unwrap();
        assert_eq!(at_socket(&path), AtSocket::Daemon);
        drop((lock, socket));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert_eq!(at_socket(&path), AtSocket::NoSocket);
    }

    #[test]
    fn knockd_is_one_line() {
        assert_eq!(knockd(&[]), []);
        assert!(knockd(&[7, 9])[0].what.contains("(process 7)"));
    }
}
