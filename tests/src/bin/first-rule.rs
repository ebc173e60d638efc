//! The way of a person to a first rule, timed in each language: what `make first-rule` runs, in `tests/in-namespace.sh`. From `posternd rule new`
//! over the build and `rule test` to a daemon, a knock over a wire and a port that opens; then a change of the rule while the daemon runs.
//!
//! Compilers are there, but nothing that they keep from one build for the next. It fails if a step does, or takes longer than is promised.

#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};
use std::{env, fs};

use postern_tests::compilers::{self, NOT_INSTALLED};
use postern_tests::{CLIENT4, Daemon, Entry, Lab, SERVER4, SERVER6, Setup, examples, machine};
use tempfile::TempDir;

const CONFIG: &str = "interfaces = [\"eth0\"]\n[doors.ssh]\nguard = \"tcp/22\"\nfor = \"60s\"\n";
/// What a change of the rule changes: the words of a line that it logs, as long as they were, so that a source has them in any language.
const CHANGE: (&str, &str) = ("second knock after", "second punch after");
/// From `rule new` to the open port.
const PROMISED: Duration = Duration::from_secs(600);
/// From the writing of a file to the new rule at work, if there is nothing or little to compile.
const PROMISED_AFTER_SAVING: Duration = Duration::from_secs(1);
/// The largest module that is little to compile, in bytes.
const SMALL: usize = 256 << 10;
/// How long a daemon may compile before it is given up.
const PATIENCE: Duration = Duration::from_secs(300);

/// The programs, which stand beside this one.
struct Programs {
    posternd: PathBuf,
    postern: PathBuf,
}

/// A person's folder for a rule.
struct Author<'a> {
    programs: &'a Programs,
    language: &'static str,
    /// What compilers and `rule test` keep, and the rule's folder.
    home: TempDir,
}

/// Why a row has no end.
enum Missed {
    /// No compiler; its script says which.
    Skipped(String),
    Failed(String),
}

fn main() -> ExitCode {
    let beside = |name| env::current_exe().unwrap_or_default().with_file_name(name);
    let programs = Programs { posternd: beside("posternd"), postern: beside("postern") };
    let asked: Vec<_> = env::args().skip(1).collect();
    let languages = examples::LANGUAGES
        .into_iter()
        .filter(|it| asked.is_empty() || asked.iter().any(|asked| asked == it));
    println!("{}; seconds:\n", machine());
    println!(
        "| language | rule new | build | rule test | check | start | knock to open port | in all | build again | new module runs after | new settings after |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut status = ExitCode::SUCCESS;
    for language in languages {
        match Author::new(&programs, language).and_then(|author| author.row()) {
            Ok(times) => {
                let times: Vec<_> = times.iter().map(|time| format!("{:.2}", time.as_secs_f64())).collect();
                println!("| {} | {} |", examples::described(language).0, times.join(" | "));
            }
            Err(Missed::Skipped(why)) if env::var_os("CI").is_none() => {
                eprintln!("first-rule: {language} is left out: {why}")
            }
            Err(Missed::Skipped(why) | Missed::Failed(why)) => {
                eprintln!("first-rule: {language}: {why}");
                status = ExitCode::FAILURE;
            }
        }
    }
    status
}

impl<'a> Author<'a> {
    fn new(programs: &'a Programs, language: &'static str) -> Result<Self, Missed> {
        let home = TempDir::with_prefix("postern-").map_err(|error| Missed::Failed(error.to_string()))?;
        Ok(Self { programs, language, home })
    }

    /// How long each step took, as the table has them.
    fn row(&self) -> Result<[Duration; 10], Missed> {
        let begun = Instant::now();
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-sdk");
        let mut new = self.command(&self.programs.posternd, self.home.path());
        new.args(["rule", "new", "first", "--lang", self.language]);
        if self.language == "rust" {
            new.arg("--sdk").arg(sdk);
        }
        let made = run(new)?;
        let built = self.build()?;
        let mut test = self.command(&self.programs.posternd, &self.folder());
        test.args(["rule", "test", "."]);
        let tested = run(test)?;

        let lab = Lab::new().map_err(Missed::Failed)?;
        let _ssh = lab.tcp_service(22);
        let rule = self.read("first.toml")?;
        let module = self.read("first.wasm")?;
        let setup = Setup::new(&lab, &self.programs.posternd).own_code().config(CONFIG);
        let setup = setup.file("rules/first.toml", &rule).file("rules/first.wasm", &module);
        let start = Instant::now();
        succeeded("posternd check", setup.check())?;
        let checked = start.elapsed();
        let start = Instant::now();
        let daemon = setup.start();
        let started = start.elapsed();
        if lab.tcp_connects(CLIENT4, 22, Duration::from_millis(200)) {
            return Err(Missed::Failed("tcp/22 was open before the knock".to_owned()));
        }
        let knocked = self.knock(&lab, SERVER4)?;
        let listed = lab.server_exec(&["nft", "list", "table", "inet", "postern"]);
        if !String::from_utf8_lossy(&listed.stdout).contains(&CLIENT4.to_string()) {
            return Err(Missed::Failed("the client is in no set of the table inet postern".to_owned()));
        }
        let in_all = begun.elapsed();

        self.change()?;
        let rebuilt = self.build()?;
        let module = self.read("first.wasm")?;
        let changed = save(&daemon, "rules/first.wasm", &module)?;
        self.knock(&lab, SERVER6)?;
        let says = |entry: &Entry| entry.event() == "says" && entry.to_string().contains(CHANGE.1);
        if !daemon.log().entries().iter().any(says) {
            return Err(Missed::Failed(format!("after the change the rule does not say `{}`", CHANGE.1)));
        }
        let rule = String::from_utf8_lossy(&rule).replace("\"5s\"", "\"6s\"");
        let saved = save(&daemon, "rules/first.toml", rule.as_bytes())?;
        daemon.stop();
        promise("an open port", in_all, PROMISED)?;
        promise("new settings at work", saved, PROMISED_AFTER_SAVING)?;
        if module.len() <= SMALL {
            promise("a new module at work", changed, PROMISED_AFTER_SAVING)?;
        }
        Ok([made, built, tested, checked, started, knocked, in_all, rebuilt, changed, saved])
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("first")
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, Missed> {
        fs::read(self.folder().join(file)).map_err(|error| Missed::Failed(format!("{file}: {error}")))
    }

    fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = compilers::command(program, self.home.path());
        command
            .current_dir(dir)
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TARGET_DIR", self.home.path().join("cargo"))
            .env("CACHE_DIRECTORY", self.home.path().join("code"));
        command
    }

    fn build(&self) -> Result<Duration, Missed> {
        let mut build = self.command(&self.folder().join("build.sh"), &self.folder());
        build.arg("first.wasm");
        run(build)
    }

    /// Knocks as a person does, and waits for the port.
    fn knock(&self, lab: &Lab, server: std::net::IpAddr) -> Result<Duration, Missed> {
        let start = Instant::now();
        let program = self.programs.postern.to_string_lossy();
        let output = lab.client_exec(&[
            &*program,
            "knock",
            &server.to_string(),
            "7000:udp",
            "7001",
            "--wait",
            "tcp/22",
        ]);
        succeeded("postern knock", output)?;
        Ok(start.elapsed())
    }

    /// Changes the source of the rule.
    fn change(&self) -> Result<(), Missed> {
        let (_, source) = examples::described(self.language);
        let source = self.folder().join(source.replace("knock.", "first."));
        let text = fs::read_to_string(&source)
            .map_err(|error| Missed::Failed(format!("{}: {error}", source.display())))?;
        let changed = text.replace(CHANGE.0, CHANGE.1);
        if changed == text {
            return Err(Missed::Failed(format!("{} does not say `{}`", source.display(), CHANGE.0)));
        }
        fs::write(&source, changed).map_err(|error| Missed::Failed(error.to_string()))
    }
}

/// Writes a file of a running daemon: how long until it logs that what is new is in force.
fn save(daemon: &Daemon<'_>, file: &str, contents: &[u8]) -> Result<Duration, Missed> {
    let mark = daemon.log().mark();
    let start = Instant::now();
    daemon.write(file, contents);
    let look = |entries: &[Entry]| {
        let mut new = entries.iter().skip(mark);
        new.find(|entry| ["reload", "reload-refused"].contains(&entry.event())).cloned()
    };
    match daemon.log().wait(PATIENCE, look) {
        Ok(entry) if entry.event() == "reload" => Ok(entry.since(start)),
        Ok(refused) => Err(Missed::Failed(refused.to_string())),
        Err(why) => Err(Missed::Failed(format!("{file} was written, and there is no reload {why}"))),
    }
}

fn promise(what: &str, took: Duration, promised: Duration) -> Result<(), Missed> {
    if took <= promised {
        return Ok(());
    }
    Err(Missed::Failed(format!(
        "{what} took {:.2} s; promised are {} s",
        took.as_secs_f64(),
        promised.as_secs()
    )))
}

fn run(mut command: Command) -> Result<Duration, Missed> {
    let start = Instant::now();
    let output = command.output().map_err(|error| Missed::Failed(format!("{command:?}: {error}")))?;
    let took = start.elapsed();
    if output.status.code() == Some(NOT_INSTALLED) {
        return Err(Missed::Skipped(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    succeeded(&format!("{command:?}"), output)?;
    Ok(took)
}

fn succeeded(what: &str, output: Output) -> Result<(), Missed> {
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Missed::Failed(format!("{what}: {}\n{}", output.status, String::from_utf8_lossy(&said).trim())))
}
