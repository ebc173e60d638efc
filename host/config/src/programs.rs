//! Programs: whether others than root, the daemon's user and whoever a command runs as could have something else run in its place.

use std::collections::BTreeMap;
use std::path::Path;

use nix::unistd::User;
use serde::{Deserialize, Serialize};

use crate::advice::Advice;
use crate::config::Config;
use crate::door::DoorKind;
use crate::trust::{Distrust, Trust};

/// What should be known of a program that a configuration has run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramAdvice {
    /// Where the configuration has it run: the first key, and how many more.
    pub used: String,
    /// What there is, whichever keys have it run.
    pub about: Advice,
}

impl From<ProgramAdvice> for Advice {
    fn from(ProgramAdvice { used, about: Self { what, remedy } }: ProgramAdvice) -> Self {
        Self::new(format!("{used}: {what}"), remedy)
    }
}

/// A program that the configuration has run.
struct ProgramUse<'a> {
    /// Where `postern.toml` says it.
    key: String,
    program: &'a str,
    /// The account that it runs as; none: the daemon's own user.
    user: Option<&'a str>,
}

/// What should be known of the programs that `config` has run: each file or folder once that others could write.
pub(crate) fn advice(config: &Config) -> Vec<ProgramAdvice> {
    let mut found: BTreeMap<Advice, Vec<String>> = BTreeMap::new();
    for ProgramUse { key, program, user } in used(config) {
        // Whoever it runs as gains nothing by exchanging it.
        let user = user.and_then(|name| User::from_name(name).ok().flatten()).map(|user| user.uid.as_raw());
        let Some(Distrust { path, what, remedy }) = Trust::Strict.distrust_program(Path::new(program), user)
        else {
            continue;
        };
        let of_whom = if path == Path::new(program) {
            program.to_owned()
        } else {
            format!("{program}: {}", path.display())
        };
        found.entry(Advice::new(format!("{of_whom}: {what}"), remedy)).or_default().push(key);
    }
    let told = |(about, keys): (Advice, Vec<String>)| {
        let more = match keys.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        ProgramAdvice { used: format!("{}{more}", keys.first().map_or("", String::as_str)), about }
    };
    found.into_iter().map(told).collect()
}

fn used(config: &Config) -> impl Iterator<Item = ProgramUse<'_>> {
    let hooks = config.hooks.iter().enumerate().filter_map(|(n, hook)| {
        let (key, user) = (format!("hooks[{n}].run"), hook.user.as_deref());
        Some(ProgramUse { key, program: hook.run.first()?, user })
    });
    let doors = config.doors.values().flat_map(|door| {
        let commands = match &door.kind {
            DoorKind::Command(commands) => Some(commands),
            // A shell finds its programs itself.
            DoorKind::Net(_) | DoorKind::Shell(_) => None,
        };
        commands.into_iter().flat_map(|commands| {
            let each = [("open", &commands.open), ("close", &commands.close)];
            each.into_iter().filter_map(|(key, argv)| {
                let (key, user) = (format!("doors.{}.{key}", door.name), commands.user.as_deref());
                Some(ProgramUse { key, program: argv.first()?, user })
            })
        })
    });
    hooks.chain(doors)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use expect_test::{Expect, expect};

    use super::*;

    /// A folder of ours with a program in it.
    struct Tools(tempfile::TempDir);

    impl Tools {
        fn new() -> Self {
            let tools = Self(tempfile::tempdir().unwrap());
            tools.set("", 0o755);
            fs::write(tools.0.path().join("tell"), "#!/bin/sh\n").unwrap();
            tools.set("tell", 0o755);
            tools
        }

        fn set(&self, name: &str, mode: u32) {
            fs::set_permissions(self.0.path().join(name), Permissions::from_mode(mode)).unwrap();
        }

        /// What is said if this runs the program `TELL`.
        fn check(&self, text: &str, expected: Expect) {
            let program = self.0.path().join("tell").display().to_string();
            let text = format!("interfaces = [\"lo\"]\n{text}").replace("TELL", &program);
            let reading = Config::of_texts(Path::new("/etc/postern/postern.toml"), &text, &[]);
            assert_eq!(reading.mistakes, []);
            let said = said(&reading.config.unwrap());
            expected.assert_eq(&said.replace(&self.0.path().display().to_string(), "/tools"));
        }
    }

    fn said(config: &Config) -> String {
        advice(config).into_iter().map(|advice| format!("{}\n", Advice::from(advice))).collect()
    }

    const HOOK: &str = "[[hooks]]\non = \"open\"\nrun = [\"TELL\", \"now\"]\n";
    const DOOR: &str = "[doors.lamp]\nopen = [\"TELL\", \"on\"]\nclose = [\"TELL\", \"off\"]\n";

    #[test]
    fn a_program_that_only_root_can_change_is_nothing_to_say() {
        Tools::new().check(&format!("{DOOR}{HOOK}"), expect![""]);
        Tools::new().check("[[hooks]]\non = \"open\"\nrun = \"/bin/sh\"\n", expect![""]);
    }

    #[test]
    fn one_that_others_can_write_is_said_once_with_its_place_and_remedy() {
        let tools = Tools::new();
        tools.set("tell", 0o757);
        tools.check(
            &format!("{DOOR}{HOOK}"),
            expect![[r#"
                hooks[0].run and 2 more: /tools/tell: everybody may write it, and could have something else run; chmod go-w /tools/tell
            "#]],
        );
        tools.set("tell", 0o755);
        tools.set("", 0o777);
        tools.check(
            DOOR,
            expect![[r#"
                doors.lamp.open and 1 more: /tools/tell: /tools: everybody may write it, and could put other files there; chmod go-w /tools
            "#]],
        );
    }

    #[test]
    fn whom_a_program_runs_as_may_own_it_and_nobody_else() {
        let tools = Tools::new();
        let program = tools.0.path().join("tell");
        let daemon = User::from_name("daemon").unwrap().expect("every machine has it").uid.as_raw();
        if let Err(error) = chown(&program, Some(daemon), None) {
            eprintln!("skipped: cannot give a file away here: {error}");
            return;
        }
        tools.check(&format!("{HOOK}user = \"daemon\"\n"), expect![""]);
        let other = format!("{HOOK}user = \"nobody\"\n");
        let text = format!(
            "hooks[0].run: /tools/tell: belongs to user {daemon}, who could have something else run; chown root /tools/tell\n"
        );
        for text_of in [HOOK, &other] {
            let program = program.display().to_string();
            let config = format!("interfaces = [\"lo\"]\n{text_of}").replace("TELL", &program);
            let reading = Config::of_texts(Path::new("/p.toml"), &config, &[]);
            let said = said(&reading.config.unwrap());
            assert_eq!(said.replace(&tools.0.path().display().to_string(), "/tools"), text);
        }
    }
}
