//! Guarded ports that no rule opens: closed for good, by a slip of the pen as a rule.

use postern_config::{Advice, Config, DoorKind};
use postern_core::NetDoor;

/// A line for the guard doors that no rule names and no tenant is granted, if there are some.
pub(crate) fn unopened(config: &Config) -> Option<Advice> {
    let is_named = |door: &str| {
        let of_rules = config.rules.iter().flat_map(|rule| &rule.doors);
        // A tenant may write its rules later, and hears of what is wrong with them itself.
        let of_tenants = config.tenants.iter().flat_map(|tenant| &tenant.grant.doors);
        of_rules.chain(of_tenants).any(|named| **named == *door)
    };
    let guards = config.doors.values().filter(|door| matches!(door.kind, DoorKind::Net(NetDoor::Guard(_))));
    let names: Vec<_> = guards.map(|door| &*door.name).filter(|name| !is_named(name)).collect();
    let first = names.first()?;
    let closed = if names.len() == 1 { "it stays closed" } else { "they stay closed" };
    Some(Advice::new(
        format!("no rule opens {}: {closed} to whoever knocks", names.join(", ")),
        format!("name it in a rule's file, such as rules/NAME.toml: door = \"{first}\""),
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn told(rules: &[(&str, &String)], more: &str) -> String {
        let text = format!(
            "interfaces = [\"lo\"]\n[doors.ssh]\nguard = \"tcp/22\"\n[doors.web]\nguard = \"tcp/80\"\n[doors.set]\nset = \"inet a b\"\n{more}"
        );
        let rules: Vec<_> = rules
            .iter()
            .map(|(name, text)| (format!("/etc/postern/rules/{name}.toml").into(), (*text).clone()))
            .collect();
        let reading = Config::of_texts(Path::new("/etc/postern/postern.toml"), &text, &rules);
        assert_eq!(reading.mistakes, []);
        unopened(&reading.config.unwrap()).map(|advice| advice.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_guarded_port_that_nobody_opens_is_said() {
        let rule = |door: &str| {
            format!("module = \"sequence\"\ndoor = \"{door}\"\n[settings]\nsequence = [\"1/udp\"]\n")
        };
        let (ssh, web) = (rule("ssh"), rule("web"));
        let remedy = |door| format!("name it in a rule's file, such as rules/NAME.toml: door = \"{door}\"");
        let both = format!("no rule opens ssh, web: they stay closed to whoever knocks; {}", remedy("ssh"));
        assert_eq!(told(&[], ""), both);
        let one = format!("no rule opens web: it stays closed to whoever knocks; {}", remedy("web"));
        assert_eq!(told(&[("ssh", &ssh)], ""), one);
        assert_eq!(told(&[("ssh", &ssh), ("web", &web)], ""), "");
        let tenant = "[tenants.a]\nrules = \"a\"\ngrant.doors = [\"web\"]\n";
        assert_eq!(told(&[("ssh", &ssh)], tenant), "");
    }
}
