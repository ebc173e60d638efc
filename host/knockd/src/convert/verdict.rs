//! Verdict: what `--convert` says about its output: whether it passes `posternd check`, and what is not in it.

use std::path::Path;
use std::process::ExitCode;

use postern_config::{Config, ConfigReading, Mistake};

use super::{Converted, POSTERN_TOML, convert};
use crate::conf::Conf;
use crate::log::{Terminal, system_text};
use crate::source::KnockdSource;

/// Says what modules find wrong with the rules of a configuration; see [`Daemon::check_rules`](crate::Daemon::check_rules).
type CheckRules = fn(&Config) -> Result<Vec<Mistake>, String>;

/// How a conversion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// What was printed passes `posternd check`, and opens whatever the knockd.conf opens.
    Whole = 0,
    /// Nothing or not all was printed, or `posternd check` would find mistakes in it.
    Wrong = 1,
    /// What was printed passes, but something is left out.
    Parts = 2,
}

impl KnockdSource {
    /// Prints the configuration in Postern's own words. The last line on standard error is what came of it.
    pub(crate) fn convert(&self, conf: &Conf, terminal: &Terminal, check_rules: CheckRules) -> ExitCode {
        // Read once more; mistakes that were not there a moment ago are reported like any others.
        let (status, words) = match self.read_conf(&()) {
            (Some(config), _) => {
                let converted = convert(&self.known_conf.file, &self.known_conf, &config);
                match terminal.print(&converted.to_string()) {
                    Ok(()) => judge(&converted, mistakes(&converted, check_rules), conf),
                    Err(error) => {
                        (Status::Wrong, format!("knockd: not all could be printed: {}", system_text(&error)))
                    }
                }
            }
            (None, mistakes) => (Status::Wrong, format!("{}knockd: nothing is printed", lines(&mistakes))),
        };
        words.lines().for_each(|line| terminal.tell(line));
        ExitCode::from(status as u8)
    }
}

/// The status, and all that is to be said on standard error.
fn judge(converted: &Converted, mistakes: Result<Vec<Mistake>, String>, conf: &Conf) -> (Status, String) {
    let (status, told, passes) = match mistakes {
        Ok(mistakes) if mistakes.is_empty() && converted.left_out.is_empty() => {
            (Status::Whole, String::new(), "passes `posternd check`".to_owned())
        }
        Ok(mistakes) if mistakes.is_empty() => {
            (Status::Parts, String::new(), "passes `posternd check`".to_owned())
        }
        Ok(mistakes) => (Status::Wrong, lines(&mistakes), "does not pass `posternd check`".to_owned()),
        Err(why) => (Status::Wrong, String::new(), format!("could not be checked ({why})")),
    };
    let left_out = match &converted.left_out[..] {
        [] => "nothing is left out".to_owned(),
        parts => format!("left out: {}", parts.join(", ")),
    };
    let not_needed = match &not_needed(conf)[..] {
        [] => String::new(),
        keys => format!("; not needed any more: {}", keys.join(", ")),
    };
    (status, format!("{told}knockd: what is printed {passes}; {left_out}{not_needed}"))
}

/// What is in `[options]` for a log and a file of the process, which the service manager has.
fn not_needed(conf: &Conf) -> Vec<&'static str> {
    let keys = [
        (conf.use_syslog, "UseSyslog"),
        (conf.log_file.is_some(), "LogFile"),
        (conf.pid_file.is_some(), "PidFile"),
    ];
    keys.into_iter().filter_map(|(is_there, key)| is_there.then_some(key)).collect()
}

/// What `posternd check` would find once the text is cut into files.
fn mistakes(converted: &Converted, check_rules: CheckRules) -> Result<Vec<Mistake>, String> {
    let file = Path::new(POSTERN_TOML);
    let ConfigReading { config, mut mistakes, .. } =
        Config::of_texts(file, &converted.config, &converted.rules);
    if converted.rules.is_empty() {
        let what = "there is no rule, so nothing can be opened; see what is left out".to_owned();
        mistakes.push(Mistake { file: file.to_owned(), line: None, key: String::new(), what });
    }
    let Some(config) = config.filter(|_| mistakes.is_empty()) else { return Ok(mistakes) };
    check_rules(&config)
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOOR: &str = "interfaces = \"eth0\"\n[doors.a]\nopen = [\"/bin/true\"]\n";
    const RULE: &str = "module = \"sequence\"\ndoor = \"a\"\n[settings]\nsequence = [\"1/udp\"]\n";

    fn converted(config: &str, rule: &str) -> Converted {
        let rules = vec![("rules/a.toml".into(), rule.to_owned())];
        Converted { config: config.to_owned(), rules, left_out: Vec::new() }
    }

    fn judged(converted: &Converted, conf: &Conf) -> (Status, String) {
        judge(converted, mistakes(converted, check_rules), conf)
    }

    /// As the module would say it of a port.
    fn check_rules(config: &Config) -> Result<Vec<Mistake>, String> {
        let wrong = config.rules.iter().filter(|rule| rule.settings.contains("0/udp"));
        Ok(wrong.flat_map(|rule| rule.settings_mistakes("sequence[0]: 0 is not a port")).collect())
    }

    #[test]
    fn the_status_says_whether_it_passes_and_whether_it_is_all() {
        let mut right = converted(DOOR, RULE);
        let (status, said) = judged(&right, &Conf::default());
        assert_eq!(status, Status::Whole);
        assert_eq!(said, "knockd: what is printed passes `posternd check`; nothing is left out");
        right.left_out.push("the section [b] (it has no start command)".to_owned());
        let conf = Conf { use_syslog: true, pid_file: Some("/p".into()), ..Conf::default() };
        let (status, said) = judged(&right, &conf);
        assert_eq!(status, Status::Parts);
        assert_eq!(
            said,
            "knockd: what is printed passes `posternd check`; left out: the section [b] (it has no start command); \
             not needed any more: UseSyslog, PidFile"
        );
    }

    #[test]
    fn what_does_not_pass_is_told_with_its_mistakes() {
        for (config, rule, mistake) in [
            ("interfaces = 5\n", RULE, "postern.toml:1: interfaces: "),
            (DOOR, &RULE.replace("door = \"a\"", "door = \"b\""), "rules/a.toml:2: door"),
            // Found by the module alone.
            (DOOR, &RULE.replace("1/udp", "0/udp"), "rules/a.toml:4: settings.sequence[0]: "),
        ] {
            let (status, said) = judged(&converted(config, rule), &Conf::default());
            assert_eq!(status, Status::Wrong, "{said}");
            assert!(said.starts_with(mistake), "{mistake}: {said}");
            let last = said.lines().last().unwrap_or_default();
            assert_eq!(last, "knockd: what is printed does not pass `posternd check`; nothing is left out");
        }
        let none = Converted { rules: Vec::new(), ..converted("interfaces = \"eth0\"\n", "") };
        assert_eq!(judged(&none, &Conf::default()).0, Status::Wrong);
    }
}
