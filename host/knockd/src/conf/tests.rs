use std::time::{Duration, Instant};

use super::*;

fn parse(text: &str) -> (Conf, Vec<String>) {
    let (conf, mistakes) = Conf::parse(Path::new("k"), text.as_bytes());
    (conf, mistakes.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn good(text: &str) -> Conf {
    let (conf, mistakes) = parse(text);
    assert!(mistakes.is_empty(), "{text:?}: {mistakes:#?}");
    conf
}

/// The one door of a section `a` with these lines and an empty command.
#[track_caller]
fn door(lines: &str) -> ConfDoor {
    let mut doors = good(&format!("[a]\ncommand=\nsequence=1\n{lines}\n")).doors;
    assert_eq!(doors.len(), 1);
    doors.remove(0)
}

/// Compares the mistakes up to the remedy.
#[track_caller]
fn bad(text: &str, expected: &[&str]) {
    let (_, mistakes) = parse(text);
    let said: Vec<&str> = mistakes.iter().map(|said| said.split("; ").next().unwrap_or_default()).collect();
    assert_eq!(said, expected, "{text:?}");
    for mistake in &mistakes {
        let (_, rest) = mistake.split_once("; ").expect("a remedy");
        assert!(rest.contains(" (k:"), "{mistake}");
    }
}

const D: &str = "command=\nsequence=1\n";

// 3.1 and 3.2: what a line is.
#[test]
fn lines() {
    assert_eq!(good(""), Conf::default());
    assert_eq!(good("\n  # x\n\t\n").doors, []);
    let crlf = good("[options]\r\n LogFile = /l \r\n[a]\r\ncommand = c\r\nsequence = 1\r\n");
    assert_eq!(crlf.log_file, Some(PathBuf::from("/l")));
    assert_eq!(crlf.doors[0].start, Some("c".into()));
    assert_eq!(door("command = true # x").start, Some("true # x".into()));
    assert_eq!(door("command = \"a\" = 'b' =").start, Some("\"a\" = 'b' =".into()));
    assert_eq!(door(" \x0bTARGET\t= 1.2.3.4 \x0c").target, Some("1.2.3.4".into()));
    assert_eq!(door("command = a\\").start, Some("a\\".into()));
    let syntax = "config: line 2: syntax error";
    for line in ["= 1", "; x = 1", "include /x", "[", "LogFile", "command", "[a\0", "\0"] {
        bad(&format!("[a]\n{line}\n{D}"), &[syntax]);
    }
}

#[test]
fn bytes_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let (conf, mistakes) = Conf::parse(Path::new("k"), b"[a\xff]\ncommand = \xe9\xff\nsequence = 1\n");
    assert_eq!(mistakes, []);
    assert_eq!(conf.doors[0].name, "a\u{fffd}");
    assert_eq!(conf.doors[0].start.as_ref().map(|start| start.as_bytes()), Some(&b"\xe9\xff"[..]));
}

// 3.1: long lines are pieces, and each counts as a line.
#[test]
fn long_lines() {
    let long = "x".repeat(5000);
    let text = format!("[a]\ncommand = {long}\nsequence = 1\nbad\n");
    bad(&text, &["config: line 3: syntax error", "config: line 5: syntax error"]);
    let fits = "x".repeat(4095 - "command = \n".len());
    assert_eq!(door(&format!("command = {fits}")).start, Some(fits.into()));
}

// 3.2: sections.
#[test]
fn sections() {
    let names = |text: &str| good(text).doors.iter().map(|door| door.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        names(&format!("[a]b]\n{D}[ c ]\n{D}[Options]\n{D}[OPTIONS]\n{D}[ options ]\n{D}")),
        ["a]b", " c ", "Options", "OPTIONS", " options "]
    );
    assert_eq!(names(&format!("[a]\n{D}[a]\n{D}")), ["a", "a"]);
    assert_eq!(names(&format!("[{}]\n{D}", "n".repeat(300))), ["n".repeat(127)]);
    let conf = good(&format!("[options]\nLogFile=/1\n[a]\n{D}[options]\npidfile=/2\nlogfile=/3\n"));
    assert_eq!((conf.log_file, conf.pid_file), (Some("/3".into()), Some("/2".into())));
    assert_eq!(conf.doors[0].line, 3);
    bad("[]\nanything\n", &["config: line 1: bad section name"]);
}

// 3.3: [options].
#[test]
fn options() {
    assert_eq!(
        good("[options]\n"),
        Conf { echo: vec!["config: new section: 'options'".to_owned()], ..Conf::default() }
    );
    let conf = good("[options]\nUSESYSLOG\nLogFile=/l\nPidFile=/p\nInterface=\nInterface=d0\nInterface=d1\n");
    assert!(conf.use_syslog);
    assert_eq!(conf.log_file, Some(PathBuf::from("/l")));
    assert_eq!(conf.pid_file, Some(PathBuf::from("/p")));
    assert_eq!(conf.interface.as_deref(), Some("d0"));
    assert!(good(&format!("[a]\nusesyslog\n{D}")).use_syslog);
    assert_eq!(good("[options]\nLogFile=\n").log_file, Some(PathBuf::new()));
    let syntax = "config: line 2: syntax error";
    for line in ["UseSyslog =", "Sequence = 1", "command = x", "LogFile"] {
        bad(&format!("[options]\n{line}\n"), &[syntax]);
    }
    for line in ["UseSyslog = 1", "LogFile = x", "PidFile = x"] {
        bad(&format!("[a]\n{line}\n{D}"), &[syntax]);
    }
}

// 3.3: a door, its defaults, aliases, and the last value of a directive.
#[test]
fn doors() {
    let plain = ConfDoor {
        sequence: DoorSequence::Fixed(steps(b"1").expect("steps")),
        start: Some("".into()),
        ..ConfDoor::new("a".to_owned(), 1)
    };
    assert_eq!(door(""), plain);
    assert_eq!((plain.seq_timeout, plain.cmd_timeout), (25, 10));
    let check = |lines: &str, change: fn(&mut ConfDoor)| {
        let mut expected = plain.clone();
        change(&mut expected);
        assert_eq!(door(lines), expected, "{lines}");
    };
    check("seq_timeout = 5s", |d| d.seq_timeout = 5);
    check("Timeout = -3", |d| d.seq_timeout = -3);
    check("Seq_Cooldown = 5s", |d| d.seq_cooldown = 5);
    check("timeout = 4\nseq_timeout = soon", |d| d.seq_timeout = 0);
    check("cmd_timeout = 7", |d| d.cmd_timeout = 7);
    check("target = host name", |d| d.target = Some("host name".into()));
    check("start_command = x %IP%", |d| d.start = Some("x %IP%".into()));
    check("start_command = x\ncommand = y", |d| d.start = Some("y".into()));
    check("start_command_6 = x", |d| d.start_6 = Some("x".into()));
    check("command_6 =", |d| d.start_6 = Some("".into()));
    check("stop_command =", |d| d.stop = Some("".into()));
    check("stop_command_6 = x", |d| d.stop_6 = Some("x".into()));
}

// 3.3 and 10.2: which of several sequences counts.
#[test]
fn sequences() {
    let one = || steps(b"1").expect("steps");
    let (once, other) = (PathBuf::from("/o"), PathBuf::from("/p"));
    let check = |lines: &str, expected: DoorSequence| assert_eq!(door(lines).sequence, expected, "{lines}");
    check("sequence=2\nsequence=1", DoorSequence::Fixed(one()));
    check("one_time_sequences=/o", DoorSequence::OneTime(once.clone()));
    check("one_time_sequences=/o\none_time_sequences=/p", DoorSequence::OneTime(other));
    check(
        "one_time_sequences=/o\nsequence=2\nsequence=1",
        DoorSequence::FixedThenOneTime { first: one(), then: once.clone() },
    );
    check("one_time_sequences=/p\nsequence=1\none_time_sequences=/o", DoorSequence::OneTime(once));
    bad("[a]\ncommand=\nsequence=\n", &["config: section a: port is missing in knock sequence"]);
    let unknown = "config: section a: unknown protocol in knock sequence";
    bad(
        "[a]\ncommand=\nsequence=1:x,70000,2:y\n",
        &[unknown, "config: section a: port 70000 is invalid", unknown],
    );
}

// 3.4: what also goes to the log.
#[test]
fn mistakes_for_the_log() {
    let (_, mistakes) = Conf::parse(Path::new("k"), b"[a]\nx\ncommand=\nsequence=1:x,70000\n");
    let logged: Vec<Option<String>> = mistakes.iter().map(|m| m.for_log().map(|m| m.to_string())).collect();
    let expected = "error: section a: unknown protocol in knock sequence".to_owned();
    assert_eq!(logged, [None, Some(expected), None]);
}

// 3.5
#[test]
fn tcp_flags() {
    use FlagCondition::{Clear, DontCare, Set};
    let any = [DontCare; 6];
    assert_eq!(door("").tcp_flags, any);
    let all = [Set, Clear, Set, Set, Clear, Set];
    assert_eq!(door("TCPFlags = fin,!Syn,RST,psh,!ack,urg").tcp_flags, all);
    let sum = [DontCare, Clear, DontCare, DontCare, Set, DontCare];
    assert_eq!(door("tcpflags = syn\ntcpflags = ack\ntcpflags = !syn").tcp_flags, sum);
    let cases: [(&str, &[&str]); 5] = [
        ("", &[""]),
        ("syn,", &[""]),
        ("ece,cwr", &["ECE", "CWR"]),
        ("!", &["!"]),
        ("!!syn,! ack", &["!!SYN", "! ACK"]),
    ];
    for (value, items) in cases {
        let said: Vec<String> =
            items.iter().map(|item| format!("config: line 4: unrecognized flag \"{item}\"")).collect();
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        bad(&format!("[a]\n{D}tcpflags = {value}\n"), &said);
    }
}

// A file that is no configuration at all is refused line by line, and that is all.
#[test]
fn a_megabyte_of_noise() {
    let mut seed = 4_u32;
    let noise: Vec<u8> = (0..1 << 20)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        })
        .collect();
    let mistakes = quickly(&noise);
    assert!(mistakes.iter().any(|mistake| mistake.to_string().starts_with("config: line 1: ")));
}

// What a door costs does not grow with the number of doors.
#[test]
fn a_megabyte_of_doors() {
    let doors = "[a]\nsequence=1:x\n[a]\nsequence=1\n[a]\n".repeat(1 << 15);
    assert_eq!(quickly(doors.as_bytes()).len(), 2 << 15);
}

/// The mistakes in a text that takes milliseconds to read, or a second on a machine that is busy.
#[track_caller]
fn quickly(text: &[u8]) -> Vec<ConfMistake> {
    let begin = Instant::now();
    let (_, mistakes) = Conf::parse(Path::new("k"), text);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    mistakes
}

// 3.6
#[test]
fn checks_after_the_last_line() {
    bad(
        "[a]\ncommand = x\n[b]\n",
        &["error: section 'a' has an empty knock sequence", "error: section 'b' has an empty knock sequence"],
    );
    // The fork refuses this one; what Debian ships takes it, and so do we.
    good("[a]\nsequence=1\nstop_command=x\nstop_command_6=x\n");
    good("[a]\nsequence=1\ncommand_6=\n");
    good("[a]\none_time_sequences=/nowhere\ncommand=\n");
}

// All mistakes at once, in the order in which knockd would find them, each with what to do and where.
#[test]
fn every_mistake_at_once() {
    let (_, said) =
        parse("x\n[options]\nLogFle = /l\n[a]\nLogFile = /l\nsequence = 1:x\ntcpflags = syn, ack\n");
    assert_eq!(
        said,
        [
            "config: line 1: all directives must belong to a section; write [options] or the [name] of a door above it \
         (k:1)",
            "config: line 3: syntax error; [options] has no \"LogFle\"; use one of UseSyslog, LogFile, PidFile, \
             Interface (k:3)",
            "config: line 5: syntax error; move LogFile into [options] (k:5)",
            "config: section a: unknown protocol in knock sequence; in place of \"1:x\" write port:tcp or port:udp, or \
             the port alone for tcp (k:6)",
            "config: line 7: unrecognized flag \" ACK\"; use FIN, SYN, RST, PSH, ACK and URG, each with or without !, \
         commas between them and no blanks (k:7)",
        ]
    );
}

// 3.7
#[test]
fn echo() {
    let conf = good(
        "[options]\nusesyslog\nlogfile=/l\npidfile=/p\ninterface=d0\ninterface=d1\n[a]\ntarget=t\n\
         sequence=1,2:UDP\nseq_timeout=5s\nseq_cooldown=3\ncommand=c\ncommand_6=c6\ncmd_timeout=7\nstop_command=s\n\
         stop_command_6=s6\ntcpflags=syn,!ack\none_time_sequences=/o\n",
    );
    assert_eq!(
        conf.echo,
        [
            "config: new section: 'options'",
            "config: usesyslog",
            "config: log file: /l",
            "config: pid file: /p",
            "config: interface: d0",
            "config: new section: 'a'",
            "config: a: target: t",
            "config: a: sequence: 1:tcp,2:udp",
            "config: a: seq_timeout: 5",
            "config: a: seq_cooldown: 3",
            "config: a: start_command: c",
            "config: a: start_command_6: c6",
            "config: a: cmd_timeout: 7",
            "config: a: stop_command: s",
            "config: a: stop_command_6: s6",
            "config: tcp flag: SYN",
            "config: tcp flag: !ACK",
            "config: a: one time sequences file: /o",
        ]
    );
}

/// Nothing that a file can hold makes it panic.
#[test]
fn any_bytes() {
    let mut seed: u64 = 7;
    let alphabet = b"[]=#,:! \t\r\n\0\xff\xc3\xa91a-syn;opnTCPFlagsequence";
    for _ in 0..2000 {
        let text: Vec<u8> = (0..200)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                alphabet[usize::try_from(seed >> 33).expect("it fits") % alphabet.len()]
            })
            .collect();
        let (_, mistakes) = Conf::parse(Path::new("k"), &text);
        assert!(mistakes.iter().all(|mistake| !mistake.to_string().is_empty()));
    }
}
