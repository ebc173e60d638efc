//! A source whose files may hang: what is asked for meanwhile is bounded, named and avoided.

use super::*;

/// A source whose files hang while they are held, and whose rules open once.
#[derive(Debug, Default)]
struct Hanging {
    /// The files that hang.
    held: Mutex<HashSet<PathBuf>>,
    let_go: Condvar,
    claimed: Mutex<Vec<u64>>,
}

impl Hanging {
    const FILES: [&'static str; 2] = ["/hangs/one", "/hangs/two"];

    fn hold(&self, files: &[&str]) {
        *self.held.lock().unwrap() = files.iter().map(PathBuf::from).collect();
        self.let_go.notify_all();
    }
}

impl ConfigSource for Hanging {
    fn read(&self, _files: &dyn TenantFiles, activity: &Activity, _observer: &dyn Observer) -> ConfigReading {
        let mut config = Config::of_knockd(vec!["lo".to_owned()], true, Duration::from_secs(9), 7);
        let mut reading = ConfigReading::default();
        for (n, file) in (1..).zip(Self::FILES.map(Path::new)) {
            let read = activity.read(file, || {
                let mut held = self.held.lock().unwrap();
                while held.contains(file) {
                    held = self.let_go.wait(held).unwrap();
                }
                Ok(())
            });
            match read {
                Ok(()) => {
                    let line = OneTime { path: file.to_owned(), offset: n, steps: "1".to_owned() };
                    let name = format!("r{n}").as_str().into();
                    config.rules.push(RuleFile::of_section(
                        file,
                        1,
                        &name,
                        "{}".to_owned(),
                        false,
                        Some(line),
                    ));
                }
                Err(error) => {
                    assert!(matches!(error, OpenError::Unanswered));
                    reading.mistakes_of_tenants.entry(TenantId::new("unread")).or_default();
                }
            }
        }
        reading.config = Some(config);
        reading
    }

    fn file(&self) -> &Path {
        Path::new("/hangs")
    }

    fn journal_stem(&self) -> &'static str {
        "test"
    }

    fn likeness(&self) -> Likeness {
        Likeness::AcrossRouters
    }

    fn advice(&self, config: &Config) -> Vec<Advice> {
        vec![Advice::new(format!("{} rules", config.rules.len()), "count them")]
    }

    fn claim(&self, line: &OneTime) -> Result<(), String> {
        self.claimed.lock().unwrap().push(line.offset);
        if line.offset == 1 { Ok(()) } else { Err("not that one".to_owned()) }
    }
}

fn hanging() -> (Arc<Hanging>, Arc<ReadingService>) {
    let source = Arc::new(Hanging::default());
    let origin = LocalOrigin::new(Arc::<Hanging>::clone(&source), code(), Arc::new(()));
    let holders = Arc::new(Kept::default());
    let service = ReadingService::start(Arc::new(origin), Some(false), holders, Box::new(Vec::new));
    (source, service)
}

fn doing(preparation: &dyn Preparation) -> Vec<String> {
    let (told, lines) = std::sync::mpsc::channel();
    preparation.doing(Box::new(move |lines| told.send(lines.to_vec()).unwrap()));
    lines.recv_timeout(A_WHILE).unwrap()
}

fn rules(preparation: &dyn Preparation) -> usize {
    preparation.read().reading.config.unwrap().rules.len()
}

#[test]
fn what_hangs_is_named_and_avoided_also_by_the_next_engine() {
    let (source, service) = hanging();
    let first = engine(&service);
    source.hold(&[Hanging::FILES[0]]);
    let stuck: Vec<_> = (1..=4).map(|ticket| first.prepare(ticket, false)).collect();
    let until = Instant::now() + A_WHILE;
    for preparation in &stuck {
        while doing(&**preparation).is_empty() {
            assert!(Instant::now() < until);
        }
        let lines = doing(&**preparation);
        assert!(lines.len() == 1 && lines[0].starts_with("reading /hangs/one, for "), "{lines:?}");
    }
    // Whether the engine says so or not: four hang.
    assert_eq!(rules(&*first.prepare(5, true)), 1);
    let second = engine(&service);
    assert_eq!(rules(&*second.prepare(1, false)), 1);
    source.hold(&[]);
    // What hung has gone on, and is of no use to anybody.
    for preparation in &stuck {
        assert_eq!(rules(&**preparation), 2);
        assert!(doing(&**preparation).is_empty());
    }
    assert_eq!(rules(&*second.prepare(2, false)), 2);
}

#[test]
fn modules_are_given_up_once_a_newer_configuration_was_read_and_not_before() {
    let source = Arc::new(Hanging::default());
    let origin = LocalOrigin::new(Arc::<Hanging>::clone(&source), code(), Arc::new(()));
    let older = origin.begin(false);
    let config = older.read_files().config.unwrap();
    let find = || older.code(&config).find(0, &config.rules[0].module).map(drop);
    source.hold(&["/hangs/one"]);
    let newer = origin.begin(false);
    older.overtake();
    thread::scope(|scope| {
        let reading = scope.spawn(|| newer.read_files());
        while newer.doing_now().is_empty() {
            thread::yield_now();
        }
        let found = find();
        source.hold(&[]);
        reading.join().unwrap();
        assert!(found.is_ok(), "the newer one may hang for ever");
    });
    assert!(matches!(find(), Err(LoadError::Overtaken)));
}

#[test]
fn a_configuration_that_wants_every_barrier_is_refused_once_one_has_run() {
    let world = World::new();
    world.write("postern.toml", &format!("sandbox = \"strict\"\n{CONFIG}"));
    let source = Arc::new(PosternToml::new(world.dir.path().join("postern.toml"), Trust::Anybody));
    let origin = Arc::new(LocalOrigin::new(source, code(), Arc::new(())));
    let missing = Box::new(|| vec!["engine: own user".to_owned(), "doorman: own user".to_owned()]);
    let service = ReadingService::start(origin, Some(true), Arc::<Kept>::clone(&world.kept), missing);
    let remote = engine(&service);
    // The supervisor ends a start.
    let NumberedReading { reading, numbers } = remote.prepare(1, false).read();
    remote.in_force(&reading.config.expect("it is right"), &[], numbers.expect("a table").table, &[]);
    let refused = |remote: &RemoteOrigin| {
        let mistakes = remote.prepare(2, false).read().reading.mistakes;
        let [mistake] = &mistakes[..] else { panic!("{mistakes:?}") };
        assert!(mistake.to_string().ends_with("for want of engine: own user and 1 more"), "{mistake}");
    };
    refused(&remote);
    refused(&engine(&service));
}

#[test]
fn readings_that_hang_are_bounded_whatever_an_engine_asks() {
    let (source, service) = hanging();
    let engine = engine(&service);
    source.hold(&Hanging::FILES);
    let readings: Vec<_> = (1..=40).map(|ticket| engine.prepare(ticket, false)).collect();
    // Those that may not even begin say so at once, while the others hang.
    for refused in &readings[MOST_UNDER_WAY..] {
        let NumberedReading { reading, numbers } = refused.read();
        let mistakes: Vec<_> = reading.mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(mistakes, ["/hangs: is not read: 5 readings of it hang"]);
        assert!(numbers.is_none());
    }
    assert!(service.lock().readings.len() <= MOST_READINGS);
    source.hold(&[]);
    assert!(readings[..MOST_UNDER_WAY].iter().all(|reading| rules(&**reading) > 0));
}

#[test]
fn a_one_time_sequence_is_used_up_by_number() {
    let (source, service) = hanging();
    let engine = engine(&service);
    let reading = engine.prepare(1, false).read();
    let (table, config) = (reading.numbers.unwrap().table, reading.reading.config.unwrap());
    let line = |n: usize| (config.rules[n].number, config.rules[n].one_time.clone().unwrap());
    let claim = |table, n| {
        let (rule, line) = line(n);
        engine.claim(table, rule, &line)
    };
    assert_eq!(claim(table, 0), Ok(()));
    assert_eq!(claim(table, 1), Err("not that one".to_owned()));
    // Of another table, or no rule: nothing is used up.
    let unknown = Err("there is no such one-time sequence any more".to_owned());
    assert_eq!(claim(table + 1, 0), unknown);
    assert_eq!(engine.claim(table, 77, &line(0).1), unknown);
    assert_eq!(*source.claimed.lock().unwrap(), [1, 2]);
    assert_eq!(engine.advice(1, &config), ["2 rules; count them"]);
    assert_eq!(engine.advice(2, &config), [""; 0]);
}
