//! Sshd: the real `sshd` on the lab's server, with keys and users of its own. It reads and changes nothing of the system's.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::Lab;
use super::program::{Program, with_files};
use crate::skip::tool;

const CONFIG: &str = "
    HostKey HOME/host-key
    AuthorizedKeysFile HOME/key.pub
    PidFile HOME/sshd.pid
    UsePAM no
    StrictModes no
    PermitRootLogin prohibit-password
";

/// A running `sshd` that listens on these ports of all addresses of the server; if there is none here, the test is
/// [skipped](crate::skip).
///
/// Root gets in with the file `key` of this folder, where all its files are.
///
/// # Panics
/// If it is there and does not start.
#[must_use]
#[track_caller]
pub fn sshd(lab: &Lab, home: &Path, ports: &[u16]) -> Option<Program> {
    let (program, keygen) = (tool("sshd")?, tool("ssh-keygen")?);
    for key in ["host-key", "key"] {
        let made =
            Command::new(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(home.join(key)).status();
        assert!(made.is_ok_and(|status| status.success()), "{key}");
    }
    let mut config = CONFIG.replace("HOME", &home.display().to_string());
    ports.iter().for_each(|port| config += &format!("    Port {port}\n"));
    write(home, "sshd_config", &config);
    // It begins with the last one.
    let first = ports.first().expect("ports to listen on");
    Some(Program::start(lab.server(), command(lab, home, &program), &format!("listening on :: port {first}")))
}

/// With users of its own, so that nothing depends on whether the system's root may log in.
///
/// Where no process may change its user, as in a namespace that a normal user made, it runs as a user itself: then it lets in that
/// user and changes to nobody.
fn command(lab: &Lab, home: &Path, program: &Path) -> Command {
    let may_change = fs::read_to_string("/proc/self/setgroups").is_ok_and(|word| word.trim() == "allow");
    let uid = if may_change { 0 } else { 1000 };
    write(
        home,
        "passwd",
        &format!("root:x:{uid}:{uid}::/:/bin/sh\nsshd:x:65534:65534::/run/sshd:/usr/sbin/nologin\n"),
    );
    write(home, "shadow", "root:*:20000::::::\nsshd:*:20000::::::\n");
    let (passwd, shadow, config) = (home.join("passwd"), home.join("shadow"), home.join("sshd_config"));
    let mut argv = Vec::new();
    if may_change {
        // sshd wants it there; whatever starts it as a service makes it.
        fs::create_dir_all("/run/sshd").expect("root may");
    } else {
        lab.server().feed(&["tee", "/proc/sys/net/ipv4/ip_unprivileged_port_start"], "0");
        argv.extend(["unshare", "--user", "--map-user=1000"].map(OsStr::new));
    }
    argv.extend([program.as_os_str(), "-D".as_ref(), "-e".as_ref(), "-f".as_ref(), config.as_os_str()]);
    with_files(&[(&passwd, "/etc/passwd"), (&shadow, "/etc/shadow")], &argv)
}

fn write(home: &Path, name: &str, text: &str) {
    fs::write(home.join(name), text).unwrap_or_else(|e| panic!("{name}: {e}"));
}
