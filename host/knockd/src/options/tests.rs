use super::*;

fn run(args: &[&str]) -> Parsed {
    parse(args.iter().map(OsString::from))
}

#[track_caller]
fn options(args: &[&str]) -> Options {
    match run(args) {
        Parsed::Run(options) => options,
        Parsed::Exit { stderr, .. } => panic!("{args:?} ended with {stderr:?}"),
    }
}

/// Changes the defaults and compares.
#[track_caller]
fn check(args: &[&str], change: impl FnOnce(&mut Options)) {
    let mut expected = Options::default();
    change(&mut expected);
    assert_eq!(options(args), expected, "{args:?}");
}

// 2: every row of the table, short and long.
#[test]
fn each_option() {
    check(&[], |_| {});
    for args in [&["-i", "d0"][..], &["--interface", "d0"], &["-id0"], &["--interface=d0"], &["--int=d0"]] {
        check(args, |o| o.interface = Some("d0".to_owned()));
    }
    for args in [["-d"], ["--daemon"], ["--da"]] {
        check(&args, |o| o.daemon = true);
    }
    for args in [&["-c", "k"][..], &["--config", "k"], &["-ck"], &["--con=k"], &["--c=k"]] {
        check(args, |o| o.config = PathBuf::from("k"));
    }
    for args in [["-D"], ["--debug"]] {
        check(&args, |o| o.debug = true);
    }
    for args in [["-l"], ["--lookup"]] {
        check(&args, |o| o.lookup = true);
    }
    for args in [&["-p", "k"][..], &["--pidfile=k"]] {
        check(args, |o| o.pidfile = PathBuf::from("k"));
    }
    for args in [&["-g", "k"][..], &["--logfile=k"]] {
        check(args, |o| o.logfile = Some(PathBuf::from("k")));
    }
    for args in [["-v"], ["--verbose"]] {
        check(&args, |o| o.verbose = true);
    }
    for args in [["-4"], ["--only-ip-v4"]] {
        check(&args, |o| o.only_ipv4 = true);
    }
    for args in [["-s"], ["--save-mem"]] {
        check(&args, |o| o.save_mem = true);
    }
    check(&["--convert"], |o| o.convert = true);
    check(&["--control-socket", "/run/c.sock"], |o| o.control_socket = Some("/run/c.sock".into()));
    check(&["--con", "/etc/other.conf"], |o| o.config = "/etc/other.conf".into());
}

// 2: bundles, permutation, operands, `--`, and values that look like options.
#[test]
fn as_getopt_reads() {
    check(&["-vd"], |o| (o.verbose, o.daemon) = (true, true));
    check(&["-vid0", "-d"], |o| {
        (o.verbose, o.daemon, o.interface) = (true, true, Some("d0".to_owned()));
    });
    check(&["operand", "-v", "-", "more"], |o| o.verbose = true);
    check(&["--", "-v"], |_| {});
    check(&["-i", "--", "-v"], |o| (o.interface, o.verbose) = (Some("--".to_owned()), true));
    check(&["-i", ""], |_| {});
    check(&["-i", "d0", "-i", ""], |_| {});
    check(&["-g", "", "-i=d0"], |o| o.interface = Some("=d0".to_owned()));
    let long = "x".repeat(5000);
    check(&["-i", &long, "-p", &long], |o| {
        o.interface = Some("x".repeat(31));
        o.pidfile = PathBuf::from("x".repeat(4095));
    });
}

// 1 and 2: exit statuses and channels; the texts are getopt's own.
#[test]
fn ends_at_once() {
    let cases: [(&[&str], &str); 12] = [
        (&["-x"], "knockd: invalid option -- 'x'\n"),
        (&["-vx", "-V"], "knockd: invalid option -- 'x'\n"),
        (&["--foo"], "knockd: unrecognized option '--foo'\n"),
        (&["--foo=1"], "knockd: unrecognized option '--foo=1'\n"),
        (&["--conv"], "knockd: unrecognized option '--conv'\n"),
        (&["-i"], "knockd: option requires an argument -- 'i'\n"),
        (&["--interface"], "knockd: option '--interface' requires an argument\n"),
        (&["--daemon=1"], "knockd: option '--daemon' doesn't allow an argument\n"),
        (&["--l"], "knockd: option '--l' is ambiguous; possibilities: '--lookup' '--logfile'\n"),
        (&["--ver"], "knockd: option '--ver' is ambiguous; possibilities: '--verbose' '--version'\n"),
        (&["--d"], "knockd: option '--d' is ambiguous; possibilities: '--debug' '--daemon'\n"),
        (&["-h", "-x"], ""),
    ];
    for (args, expected) in cases {
        let Parsed::Exit { stdout, stderr, status } = run(args) else { panic!("{args:?} runs") };
        assert_eq!((stderr.as_str(), status), (expected, 0), "{args:?}");
        assert!(stdout.starts_with("usage: knockd"), "{args:?}: {stdout}");
    }
    for args in [["-V"], ["--version"]] {
        let Parsed::Exit { stdout, stderr, status } = run(&args) else { panic!("{args:?} runs") };
        assert!(stdout.starts_with("knockd 0.8\n"), "{stdout}");
        assert_eq!((stderr.as_str(), status), ("", 0));
    }
}

#[test]
fn usage_names_every_option() {
    let usage = usage();
    for flag in FLAGS {
        assert!(usage.contains(&format!("--{}", flag.long)), "{usage}");
    }
}

#[test]
fn bytes_that_are_no_text() {
    let Parsed::Exit { stderr, .. } = parse([OsString::from_vec(b"-\xff".to_vec())].into_iter()) else {
        panic!("it runs")
    };
    assert_eq!(stderr, "knockd: invalid option -- '\u{fffd}'\n");
}
