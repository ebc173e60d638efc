use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use postern_core::{ClaimKind, Once, RuleId, TenantId};

use super::*;
use crate::LedgerError;
use crate::file::OpenLedger;
use crate::store::tests::Disk;

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A ledger with what it has answered.
struct Kept {
    ledger: FileLedger,
    said: Receiver<Answer>,
    serial: std::cell::Cell<u64>,
}

impl Kept {
    fn start(folder: &Path) -> Self {
        let (say, said) = unbounded();
        let answers = Box::new(move |answer| drop(say.send(answer)));
        Self { ledger: FileLedger::start(folder, answers).unwrap(), said, serial: 0.into() }
    }

    fn open(path: &Path, open: OpenStore) -> Self {
        let (say, said) = unbounded();
        let answers = Box::new(move |answer| drop(say.send(answer)));
        let ledger = FileLedger::start_with(path.to_owned(), open, answers).unwrap();
        Self { ledger, said, serial: 0.into() }
    }

    fn ask(&self, token: &str) -> u64 {
        self.serial.set(self.serial.get() + 1);
        let rule = RuleId { tenant: TenantId::host(), name: "spa".into() };
        let what = ClaimKind::Once(once(token));
        self.ledger.claim(Claim { serial: self.serial.get(), rule, what, most: None });
        self.serial.get()
    }

    /// What becomes of a claim for this token.
    fn claim(&self, token: &str) -> Result<(), ClaimError> {
        let asked = self.ask(token);
        loop {
            if let Answer::Claimed { serial, result } = self.said.recv_timeout(PATIENCE).unwrap() {
                assert_eq!(serial, asked);
                return result;
            }
        }
    }

    fn refusal(&self, token: &str) -> String {
        match self.claim(token) {
            Err(ClaimError::NotRecorded(words)) => words,
            other => panic!("{other:?}"),
        }
    }

    /// What it says before it is asked anything.
    fn first_words(&self) -> String {
        match self.said.recv_timeout(PATIENCE).unwrap() {
            Answer::Fails(words) => words,
            other => panic!("{other:?}"),
        }
    }

    /// Claims other tokens until one is granted: an error is not tried again at once.
    fn recovers(&self) {
        let patience = Instant::now() + PATIENCE;
        for n in 0.. {
            assert!(Instant::now() < patience, "it never works again");
            if self.claim(&format!("try {n}")).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it, and waits until its thread has let go of the file.
    fn stop(self) {
        drop(self.ledger);
        while self.said.recv_timeout(PATIENCE).is_ok() {}
    }
}

fn once(token: &str) -> Once {
    Once::Token { bytes: token.as_bytes().into(), until: None }
}

#[test]
fn who_uses_no_token_has_no_file_and_who_does_keeps_it_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let ledger = Kept::start(&folder);
    ledger.stop();
    assert!(!folder.exists());
    let ledger = Kept::start(&folder);
    assert_eq!(ledger.claim("a"), Ok(()));
    assert_eq!(ledger.claim("a"), Err(ClaimError::AlreadyUsed));
    ledger.stop();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join(FILE))), (0o700, 0o600));
    let ledger = Kept::start(&folder);
    assert_eq!(ledger.claim("a"), Err(ClaimError::AlreadyUsed));
    assert_eq!(ledger.claim("b"), Ok(()));
}

#[test]
fn each_write_is_told_and_a_used_token_costs_none() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Kept::start(dir.path());
    assert_eq!(ledger.claim("a"), Ok(()));
    assert!(matches!(ledger.said.recv_timeout(PATIENCE), Ok(Answer::Committed { .. })));
    assert_eq!(ledger.claim("a"), Err(ClaimError::AlreadyUsed));
    let Kept { ledger, said, .. } = ledger;
    drop(ledger);
    assert_eq!(said.iter().collect::<Vec<_>>(), []);
}

#[test]
fn what_a_crash_left_half_made_is_made_again_and_an_empty_file_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ledger.new"), vec![0x5a; 4096]).unwrap();
    let ledger = Kept::start(dir.path());
    assert_eq!(ledger.claim("a"), Ok(()));
    ledger.stop();
    assert!(!dir.path().join("ledger.new").exists());
    fs::File::create(dir.path().join(FILE)).unwrap();
    let ledger = Kept::start(dir.path());
    assert!(
        ledger.first_words().contains("is damaged, so nobody knows which tokens were used (it is empty)")
    );
}

#[test]
fn another_daemons_ledger_is_left_to_it_and_used_when_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let first = Kept::start(dir.path());
    assert_eq!(first.claim("a"), Ok(()));
    let second = Kept::start(dir.path());
    let words = second.first_words();
    assert!(
        words.starts_with("another daemon has the ledger ") && words.ends_with("by STATE_DIRECTORY"),
        "{words}"
    );
    assert_eq!(second.refusal("b"), words);
    assert_eq!(first.claim("b"), Ok(()));
    first.stop();
    second.recovers();
    assert_eq!(second.claim("a"), Err(ClaimError::AlreadyUsed));
    assert_eq!(second.claim("b"), Err(ClaimError::AlreadyUsed));
}

#[test]
fn a_damaged_file_stays_and_refuses_all_until_a_person_moves_it_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    fs::write(&path, vec![0x5a; 8192]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for _ in 0..2 {
        let ledger = Kept::start(dir.path());
        let words = ledger.first_words();
        assert!(words.contains(" is damaged, so nobody knows which tokens were used ("), "{words}");
        assert!(
            words.contains(&format!("{}", path.display())) && words.contains("\"Used tokens\" in config.md"),
            "{words}"
        );
        assert_eq!(ledger.refusal("a"), words);
        ledger.stop();
        assert_eq!(fs::read(&path).unwrap(), vec![0x5a; 8192]);
    }
    let ledger = Kept::start(dir.path());
    ledger.first_words();
    fs::rename(&path, dir.path().join("ledger.damaged")).unwrap();
    ledger.recovers();
    assert_eq!(ledger.claim("a"), Ok(()));
}

#[test]
fn what_others_could_have_written_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let ledger = Kept::start(dir.path());
    assert_eq!(ledger.claim("a"), Ok(()));
    ledger.stop();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
    let ledger = Kept::start(dir.path());
    assert!(ledger.first_words().contains("can be written by others, so what is in it may be wrong"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    ledger.recovers();
    assert_eq!(ledger.claim("a"), Err(ClaimError::AlreadyUsed));
    ledger.stop();
    fs::rename(&path, dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("elsewhere"), &path).unwrap();
    let ledger = Kept::start(dir.path());
    assert!(ledger.first_words().contains("is a symbolic link"));
}

#[test]
fn without_a_folder_claims_are_refused_with_the_reason_and_recorded_as_soon_as_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fs::write(&folder, "").unwrap();
    let ledger = Kept::start(&folder);
    let words = ledger.refusal("a");
    assert!(
        words.starts_with(&format!("the state folder {} cannot be made or read: ", folder.display())),
        "{words}"
    );
    fs::remove_file(&folder).unwrap();
    ledger.recovers();
    assert_eq!(ledger.claim("a"), Ok(()));
}

#[test]
fn while_the_file_is_opened_claims_wait_in_a_bounded_line_and_each_is_answered_once() {
    let dir = tempfile::tempdir().unwrap();
    let is_held = Arc::new(AtomicBool::new(true));
    let (folder, held) = (dir.path().to_owned(), Arc::clone(&is_held));
    let open: OpenStore = Box::new(move |request| {
        while held.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        file::open(&folder, request)
    });
    let ledger = Kept::open(&dir.path().join(FILE), open);
    let begun = Instant::now();
    for n in 0..MOST_WAITING + 10 {
        ledger.ask(&n.to_string());
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waits for a disk");
    is_held.store(false, Ordering::Relaxed);
    let Kept { ledger, said, .. } = ledger;
    drop(ledger);
    let mut writes = 0;
    let mut results = Vec::new();
    while let Ok(answer) = said.recv_timeout(PATIENCE) {
        match answer {
            Answer::Claimed { serial, result } => results.push((serial, result)),
            Answer::Committed { .. } => writes += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((1..=2).contains(&writes), "{writes}: what waits is written together");
    results.sort_by_key(|(serial, _)| *serial);
    let serials = results.iter().map(|(serial, _)| *serial);
    assert!(serials.eq(1..=MOST_WAITING as u64 + 10));
    let (granted, busy): (Vec<_>, Vec<_>) = results.into_iter().partition(|(_, result)| result.is_ok());
    assert_eq!(granted.len(), MOST_WAITING);
    assert!(busy.iter().all(|(_, result)| *result == Err(ClaimError::Busy)));
}

#[test]
fn a_panic_at_a_damaged_file_refuses_and_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let panics = Arc::new(AtomicBool::new(true));
    let (folder, does) = (dir.path().to_owned(), Arc::clone(&panics));
    let open: OpenStore = Box::new(move |request| {
        assert!(!does.load(Ordering::Relaxed), "of this test");
        file::open(&folder, request)
    });
    let ledger = Kept::open(&dir.path().join(FILE), open);
    assert!(ledger.first_words().contains("cannot be read"));
    assert!(ledger.refusal("a").contains("cannot be read"));
    panics.store(false, Ordering::Relaxed);
    ledger.recovers();
    assert_eq!(ledger.claim("a"), Ok(()));
}

#[test]
fn trouble_is_said_once_and_its_end_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let (path, folder) = (dir.path().join(FILE), dir.path().to_owned());
    let fails = Arc::new(AtomicBool::new(true));
    let (does, at) = (Arc::clone(&fails), path.clone());
    let open: OpenStore = Box::new(move |request| match does.load(Ordering::Relaxed) {
        true => Err(LedgerError::File(at.clone(), io::ErrorKind::StorageFull.into())),
        false => file::open(&folder, request),
    });
    let ledger = Kept::open(&path, open);
    let until = Instant::now() + Duration::from_millis(1200);
    while Instant::now() < until {
        ledger.ask("a");
        thread::sleep(Duration::from_millis(20));
    }
    fails.store(false, Ordering::Relaxed);
    thread::sleep(Duration::from_millis(1100));
    ledger.ask("b");
    let mut told = Vec::new();
    while let Ok(answer) = ledger.said.recv_timeout(PATIENCE) {
        match answer {
            Answer::Claimed { result: Ok(()), .. } => break,
            Answer::Claimed { result, .. } => assert!(matches!(result, Err(ClaimError::NotRecorded(_)))),
            Answer::Fails(words) => told.push(format!("fails: {words}")),
            Answer::Works(path) => told.push(format!("works: {}", path.display())),
            Answer::Committed { .. } => told.push("committed".to_owned()),
        }
    }
    let path = path.display();
    let fails = format!(
        "fails: the ledger {path} cannot be opened; see that its disk can be read and written: no storage space"
    );
    assert_eq!(told, [fails, format!("works: {path}")]);
}

/// The other process: hands the file out, and keeps no copy.
fn remote(folder: &Path, requests: &Arc<Mutex<Vec<LedgerRequest>>>) -> Kept {
    let (say, said) = unbounded();
    let answers = Box::new(move |answer| drop(say.send(answer)));
    let (folder, requests) = (folder.to_owned(), Arc::clone(requests));
    let files = move |request| {
        requests.lock().unwrap().push(request);
        file::take_file(&folder, request).map_err(|error| postern_text::chain(&error).to_string())
    };
    let ledger = FileLedger::start_remote("state/ledger.redb".into(), files, answers).unwrap();
    Kept { ledger, said, serial: 0.into() }
}

#[test]
fn a_ledger_by_descriptor_keeps_tokens_and_holds_the_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let requests = Arc::default();
    let ledger = remote(dir.path(), &requests);
    assert_eq!(ledger.claim("a"), Ok(()));
    let (not_yet, made) = (LedgerRequest::default(), LedgerRequest { make: true, copy: false });
    assert_eq!(*requests.lock().unwrap(), [not_yet, made]);
    // The lock went with the descriptor, so nobody gets it while this one lives, and anybody does afterwards.
    let second = remote(dir.path(), &Arc::default());
    assert!(second.first_words().contains("another daemon has the ledger"));
    assert!(second.refusal("b").contains("another daemon has the ledger"));
    ledger.stop();
    second.recovers();
    assert_eq!(second.claim("a"), Err(ClaimError::AlreadyUsed));
    second.stop();
    // What is damaged stays where it is, and nothing is claimed.
    let path = dir.path().join(FILE);
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
    let third = remote(dir.path(), &Arc::default());
    assert!(third.first_words().contains("is damaged"));
    assert!(third.refusal("c").contains("is damaged"));
    assert_eq!(fs::metadata(&path).unwrap().len(), length / 2);
}

#[test]
fn after_a_failed_flush_the_file_is_a_copy_with_all_its_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let ledger = Kept::start(dir.path());
    assert_eq!(ledger.claim("a"), Ok(()));
    ledger.stop();
    // Held, so that the copy does not get the file's number.
    let held = fs::File::open(&path).unwrap();
    let before = held.metadata().unwrap().ino();
    // What a start that was killed left of an earlier copy.
    fs::write(dir.path().join("ledger.new"), "half").unwrap();
    let copied = file::take_file(dir.path(), LedgerRequest { make: true, copy: true }).unwrap();
    assert!(copied.is_some());
    assert_ne!(fs::metadata(&path).unwrap().ino(), before);
    assert!(!dir.path().join("ledger.new").exists());
    // The lock is on the copy.
    let second = Kept::start(dir.path());
    assert!(second.refusal("b").contains("another daemon has the ledger"));
    drop(copied);
    second.recovers();
    assert_eq!(second.claim("a"), Err(ClaimError::AlreadyUsed));
}

#[test]
fn a_flush_that_failed_has_the_file_copied_before_it_is_used_again_and_another_error_does_not() {
    for is_unsure in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_owned();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&requests);
        let open: OpenStore = Box::new(move |request| {
            let mut asked = asked.lock().unwrap();
            asked.push(request);
            if asked.len() != 2 {
                return file::open(&folder, request);
            }
            let disk = Disk::default();
            let store = disk.open()?;
            disk.fail_at(1);
            Ok(Some(OpenLedger { store, is_unsure: Box::new(move || is_unsure) }))
        });
        let ledger = Kept::open(&dir.path().join(FILE), open);
        assert!(ledger.refusal("a").contains("cannot be written"));
        ledger.recovers();
        let make = |copy| LedgerRequest { make: true, copy };
        assert_eq!(requests.lock().unwrap()[1..], [make(false), make(is_unsure)]);
    }
}
