use std::fs;
use std::path::Path;
use std::process::Command;

use postern_core::CommandDoor;

use super::*;
use crate::options::Options;
use crate::source::KnockdSource;

const ARTICLE: &str = "\
[options]
UseSyslog
Interface = eth0

[SSH]
sequence = 1111:udp,2222:udp
seq_timeout = 5
start_command = /sbin/iptables -I INPUT -s %IP% -p tcp -m tcp --dport 22 -m state --state NEW -j ACCEPT
cmd_timeout = 600
stop_command = /sbin/iptables -D INPUT -s %IP% -p tcp -m tcp --dport 22 -m state --state NEW -j ACCEPT
";

fn converted(text: &str) -> Converted {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("knockd.conf");
    fs::write(&file, text.replace("$DIR", dir.path().to_str().unwrap())).unwrap();
    fs::write(dir.path().join("once"), "1,2,3\n").unwrap();
    let (source, _) = KnockdSource::open(Options { config: file, ..Options::default() }).unwrap();
    let config = source.read_conf(&()).0.unwrap();
    convert(Path::new("/etc/knockd.conf"), &source.known_conf, &config)
}

/// What Postern reads of it, cut apart.
#[track_caller]
fn loaded(text: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("rules")).unwrap();
    for file in format!("\n{text}").split("\n# --- ").skip(1) {
        let (name, content) = file.split_once(" ---\n").unwrap();
        fs::write(dir.path().join(name), content).unwrap();
    }
    Config::load(&dir.path().join("postern.toml")).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

fn command<'a>(config: &'a Config, door: &str) -> &'a CommandDoor {
    match &config.doors[door].kind {
        DoorKind::Command(command) => command,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_articles() {
    let converted = converted(ARTICLE);
    assert_eq!(converted.left_out, [""; 0]);
    let text = converted.to_string();
    expect_test::expect![[r##"
        # --- postern.toml ---
        # Made of /etc/knockd.conf by `posternd knockd --convert`. What is different from there: commands find nothing in their environment
        # but PATH and POSTERN_...; one that runs longer than `timeout` is killed; if `open` fails, `close` is run; `close` is tried six times.
        # The log goes to standard error; UseSyslog, LogFile and PidFile are not needed.
        interfaces = ["eth0"]

        # Without iptables: this in place of the door below. Postern itself then drops what goes to tcp/22 and lets clients
        # through that have knocked right; your own rules must not drop it.
        # [doors.SSH]
        # guard = "tcp/22"
        # for   = "10m"
        [doors.SSH]
        open    = ["/bin/sh", "-c", "/sbin/iptables -I INPUT -s $POSTERN_IP -p tcp -m tcp --dport 22 -m state --state NEW -j ACCEPT"]
        close   = ["/bin/sh", "-c", "/sbin/iptables -D INPUT -s $POSTERN_IP -p tcp -m tcp --dport 22 -m state --state NEW -j ACCEPT"]
        for     = "10m"
        timeout = "10m"
        again   = "run"

        # --- rules/SSH.toml ---
        module = "sequence"
        door   = "SSH"
        group  = "knockd"

        [settings]
        sequence  = ["1111/udp", "2222/udp"]
        within    = "5s"
        tcp_flags = []
        family    = "ipv4"   # without Start_Command_6 clients of IPv6 open nothing
    "##]].assert_eq(&text);
    let config = loaded(&text);
    assert_eq!(config.interfaces, ["eth0"]);
    assert_eq!(config.doors["SSH"].lasts, Duration::from_secs(600));
    let rule = &config.rules[0];
    assert_eq!((&*rule.id.name, &*rule.group), ("SSH", "knockd"));

    // The proposal is one, too.
    let guard: String = text
        .lines()
        .take_while(|line| *line != "[doors.SSH]")
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|line| line.contains(" = ") || line.starts_with("["))
                .unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let rules = text.split_once("\n# --- rules").unwrap().1;
    let config = loaded(&format!("{guard}\n# --- rules{rules}"));
    assert!(matches!(config.doors["SSH"].kind, DoorKind::Net(_)));
    assert_eq!(config.doors["SSH"].lasts, Duration::from_secs(600));
}

#[test]
fn a_nasty_one() {
    let converted = converted(NASTY);
    assert_eq!(
        converted.left_out,
        [
            "clients of the section [ \\u{1b} ] (without Start_Command_6 clients of IPv6 open nothing)",
            "packets that leave for the target of the section [ \\u{1b} ]",
            "clients of the section [a/b\"]] (without Start_Command_6 clients of IPv6 open nothing)",
            "clients of the section [a.b'!] (without Start_Command_6 clients of IPv6 open nothing)",
            "the time of the section [forever] beyond 366d",
            "the section [nothing] (it has no start command)",
            "the section [once] (One_Time_Sequences cannot be said in these words yet)",
        ]
    );
    let text = converted.to_string();
    let config = loaded(&text);
    let mut names: Vec<_> = config.rules.iter().map(|rule| &*rule.id.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["---", "a-b--", "a-b---2", "close", "forever", "open", "open-too"]);
    assert_eq!(config.doors["---"].lasts, Duration::from_millis(1));
    assert_eq!(config.doors["forever"].lasts, LONGEST);
    assert!(text.contains("# The section [nothing] is left out: it has no start command."), "{text}");
    assert!(text.contains("# The section [once] is left out: One_Time_Sequences"), "{text}");
    assert_eq!(text.matches("guard = \"tcp/22\"").count(), 1, "{text}");
    assert!(text.contains("# Without iptables: door = \"open\"\n"), "{text}");
    assert!(text.contains("# Without iptables: door = \"open\", and action = \"close\" below"), "{text}");
    let settings = |name| &config.rules.iter().find(|rule| &*rule.id.name == name).unwrap().settings;
    let expected: Value = serde_json::from_str(
        r#"{"sequence": ["7000/tcp", "8000/udp"], "within": "1ms", "cooldown": "7s", "tcp_flags": ["syn", "!ack"], "target": "2001:db8::1", "family": "ipv4"}"#,
    )
    .unwrap();
    assert_eq!(serde_json::from_str::<Value>(settings("---")).unwrap(), expected);
}

const NASTY: &str = "\
[ \u{1b} ]
sequence = 7000,8000:udp
seq_timeout = -1
seq_cooldown = 7
tcpflags = syn,!ack
target = 2001:db8::1
cmd_timeout = 0
start_command = printf '%s\\n' \"a \\\"b\\\" {ip} {door} {nobody}\" # %IP%
stop_command_6 = echo ''' \"\"\" \u{1}\u{7f} %IP%
[a/b\"]]
sequence = 1
start_command = a
[a.b'!]
sequence = 2
start_command = b
[open]
sequence = 3
start_command = iptables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
start_command_6 = ip6tables -A INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
[open-too]
sequence = 4
start_command = iptables -I INPUT 1 -s %IP% -p tcp --dport 22 -j ACCEPT
[close]
sequence = 5
start_command = iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
[forever]
sequence = 6
start_command = true
start_command_6 =
stop_command = false
cmd_timeout = -1
[nothing]
sequence = 7
stop_command = false
[once]
one_time_sequences = $DIR/once
start_command = true
";

/// `text` as one section, and what Postern reads of it: the family, and the commands that open and close.
fn section_of(text: &str, options: Options) -> (String, Vec<String>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("knockd.conf");
    fs::write(&file, format!("[a]\nsequence = 1:udp\n{text}")).unwrap();
    let (source, _) = KnockdSource::open(Options { config: file, ..options }).unwrap();
    let config = loaded(
        &convert(Path::new("knockd.conf"), &source.known_conf, &source.read_conf(&()).0.unwrap()).to_string(),
    );
    let settings: Value = serde_json::from_str(&config.rules[0].settings).unwrap();
    let family = settings.get("family").and_then(Value::as_str).unwrap_or("both").to_owned();
    let CommandDoor { open, close, .. } = command(&config, "a").clone();
    (family, open, close)
}

/// What cannot be seen is there by its number: in a comment it shows, and as a value it is the same.
#[test]
fn what_cannot_be_seen_is_written_out() {
    let section = "a \u{1b}[2J\u{202e}b";
    let command_line = "echo\t'\u{1b}[31m' \"\u{202e}\u{e0041}\u{85}\" \\\\ %IP%";
    let text =
        converted(&format!("[{section}]\nsequence = 1:udp\nstart_command = {command_line}\n")).to_string();
    assert!(text.chars().all(|c| c == '\n' || is_fit(c)), "{text}");
    assert!(text.contains(r"# The section [a \u{1b}[2J\u{202e}b]"), "{text}");
    let config = loaded(&text);
    let door = config.doors.keys().next().unwrap();
    assert_eq!(command(&config, door).open[2], command_line.replace(ADDRESS, "{ip}"));
    for text in ["\u{0}\u{7f}\r\n\u{feff}\"\\", "'''\"\"\"\u{200b}"] {
        let table: toml::Table = format!("x = {}", quoted(text)).parse().unwrap();
        assert_eq!(table["x"].as_str(), Some(text));
    }
}

/// Another family's command may never succeed, and then the door could not be closed.
#[test]
fn a_family_without_commands_of_its_own_opens_nothing() {
    let sh = |line: &str| ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
    let of = |lines: &[&str]| section_of(&lines.concat(), Options::default());
    let (start, stop) = ("start_command = on4\n", "stop_command = off4\n");
    let (start_6, stop_6) = ("start_command_6 = on6\n", "stop_command_6 = off6\n");
    let ipv4 = "ipv4".to_owned();
    assert_eq!(of(&[start, stop]), (ipv4.clone(), sh("on4"), sh("off4")));
    assert_eq!(of(&[start]), (ipv4.clone(), sh("on4"), vec![]));
    assert_eq!(of(&[start, stop, start_6]), (ipv4.clone(), sh("on4"), sh("off4")));
    assert_eq!(of(&[start, stop, stop_6]), (ipv4.clone(), sh("on4"), sh("off4")));
    assert_eq!(of(&[start_6, stop_6]), ("ipv6".to_owned(), sh("on6"), sh("off6")));
    assert_eq!(of(&[start, start_6, stop_6]), ("ipv6".to_owned(), sh("on6"), sh("off6")));
    let both = of(&[start, stop, start_6, stop_6]);
    assert_eq!(both.0, "both");
    assert_eq!(both.2, sh("case \"$POSTERN_IP\" in *:*) off6 ;; *) off4 ;; esac"));
    assert_eq!(of(&[start, start_6]).0, "both");
    let all = [start, stop, start_6, stop_6].concat();
    let only_ipv4 = section_of(&all, Options { only_ipv4: true, ..Options::default() });
    assert_eq!(only_ipv4, (ipv4, sh("on4"), sh("off4")));
}

/// Commands do what knockd has them do, whatever is in them.
#[test]
fn commands_do_the_same() {
    for line in [
        "echo %IP%",
        "echo '%IP%' \"%IP%\" %IP%_1 \\%IP% %IP%%IP% $%IP%",
        "echo ${IFS+set} {ip} {door} '{a}' \"{seconds}\" # %IP% '{b}",
        "x=1; echo ${x} $0 $# $1 '{a}{b}{c}{d}{e}{f}{g}{h}{i}{j}{k}' %IP%",
        "echo {%IP%} {i%IP%}",
        "echo a & wait;",
    ] {
        let (four, six) = (format!("{line} "), "echo six %IP% # not {four}".to_owned());
        for (ip, expected) in [("192.0.2.1", &four), ("2001:db8::1", &six)] {
            let as_knockd = output(&["/bin/sh".into(), "-c".into(), expected.replace(ADDRESS, ip)], ip);
            let mut checked = vec![argv(&four, &six)];
            checked.push(argv(expected, expected));
            for argv in checked {
                let text = format!("interfaces = \"lo\"\n[doors.a]\nopen = {}\n", list(&argv));
                let config = loaded(&format!("# --- postern.toml ---\n{text}"));
                let read = &command(&config, "a").open;
                assert_eq!(read, &argv);
                let filled: Vec<_> = read.iter().map(|argument| argument.replace("{ip}", ip)).collect();
                assert_eq!(output(&filled, ip), as_knockd, "{argv:?}");
            }
        }
    }
}

fn output(argv: &[String], ip: &str) -> String {
    let done = Command::new(&argv[0]).args(&argv[1..]).env("POSTERN_IP", ip).output().unwrap();
    assert!(done.status.success(), "{argv:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}
