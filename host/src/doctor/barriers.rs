//! Barriers: which of them will hold around what parses packets and runs rules. They are tried, not guessed, by a process that gives up
//! what an engine does.

use super::finding::{Finding, Looked, NotLooked};
use super::{DoctorSubject, barriers_role};

pub(super) fn look(subject: &DoctorSubject<'_>) -> Looked {
    if !subject.is_root {
        return Err(NotLooked::for_want_of_root());
    }
    let sandbox = &subject.config.sandbox;
    let missing = barriers_role::missing(sandbox.user).map_err(|error| {
        NotLooked::new(format!("{error:#}"), "try `posternd run`, whose log says it as well")
    })?;
    Ok(judge(&missing, sandbox.is_strict))
}

/// Each that is missing with its cause; whether the daemon starts only with all.
fn judge(missing: &[(String, String)], is_strict: bool) -> Vec<Finding> {
    let finding = |(barrier, cause): &(String, String)| {
        let remedy = remedy(barrier);
        if is_strict {
            let what = format!("sandbox = \"strict\" is not possible here, for want of {barrier}: {cause}");
            return Finding::problem(what, remedy);
        }
        Finding::warning(format!("not around what parses packets and runs rules: {barrier}: {cause}"), remedy)
    };
    missing.iter().map(finding).collect()
}

/// What gives a barrier, by the name that it has in the log.
fn remedy(barrier: &str) -> &'static str {
    match barrier {
        "own user" => {
            "make the account `postern`, as `systemd-sysusers` does with postern.sysusers of host/dist, or name another: user"
        }
        "Landlock" => "run Linux 5.13 or later with Landlock, named in the kernel parameter `lsm`",
        "TCP" => "run Linux 6.7 or later with Landlock",
        "signals" | "abstract UNIX sockets" => "run Linux 6.12 or later with Landlock",
        "seccomp" => {
            "run a kernel with CONFIG_SECCOMP_FILTER, or a container that leaves seccomp to the daemon"
        }
        "capabilities" | "capability bounding set" => {
            "start it with CAP_SETPCAP, as the unit of host/dist does"
        }
        _ => "see the barriers in host/docs/threat-model.md",
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::doctor::finding::lines;

    #[test]
    fn each_that_is_missing_is_said() {
        let missing = [("Landlock", "this kernel has none"), ("own user", "stays user 0")]
            .map(|(barrier, cause)| (barrier.to_owned(), cause.to_owned()));
        assert_eq!(judge(&[], true), []);
        expect![[r#"
            warning: not around what parses packets and runs rules: Landlock: this kernel has none; run Linux 5.13 or later with Landlock, named in the kernel parameter `lsm`
            warning: not around what parses packets and runs rules: own user: stays user 0; make the account `postern`, as `systemd-sysusers` does with postern.sysusers of host/dist, or name another: user
        "#]]
        .assert_eq(&lines(&judge(&missing, false)));
        expect![[r#"
            problem: sandbox = "strict" is not possible here, for want of Landlock: this kernel has none; run Linux 5.13 or later with Landlock, named in the kernel parameter `lsm`
        "#]]
        .assert_eq(&lines(&judge(&missing[..1], true)));
    }
}
