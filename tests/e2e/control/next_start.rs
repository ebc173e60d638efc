//! What a reload cannot change is said, to whoever asked for it and in the log.

use super::{CONFIG, ask, lab_with_users, said};
use crate::{KNOCK, posternd};

#[test]
fn a_reload_says_what_takes_effect_at_the_next_start() {
    let Some(lab) = lab_with_users() else { return };
    let daemon = posternd(&lab).config(CONFIG).rule("knock", KNOCK).start();
    let path = daemon.dir().join("postern.toml").display().to_string();
    let lines = CONFIG.lines().count();
    let socket = daemon.dir().join("metrics.sock");
    let metrics = format!("[metrics]\nlisten = \"unix:{}\"\n", socket.display());
    daemon.write("postern.toml", format!("{CONFIG}[control]\nsocket = \"none\"\n{metrics}"));
    let reloaded = said(&ask(&daemon, &["reload", "--wait"]), 0);
    let effect = "this change takes effect at the next start of posternd";
    let (control, listen) = (
        format!("{path}:{}: control.socket: {effect}", lines + 2),
        format!("{path}:{}: metrics.listen: {effect}", lines + 4),
    );
    let told: Vec<_> = reloaded.lines().skip(1).collect();
    assert_eq!(told, [format!("warning: {control}"), format!("warning: {listen}")]);
    for detail in [&control, &listen] {
        daemon.wait_for("next-start", |entry| entry.text("detail") == *detail);
    }
    assert!(!socket.exists());
    // It is as it was at the start, and there is nothing to say.
    daemon.write("postern.toml", CONFIG);
    assert_eq!(said(&ask(&daemon, &["reload", "--wait"]), 0).lines().count(), 1);
    // Another start has what was said.
    daemon.write("postern.toml", format!("{CONFIG}{metrics}"));
    let (setup, _) = daemon.stop();
    let daemon = setup.start();
    assert!(socket.exists());
    assert_eq!(said(&ask(&daemon, &["reload", "--wait"]), 0).lines().count(), 1);
    daemon.stop();
}
