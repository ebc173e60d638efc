use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use redb::backends::InMemoryBackend;
use redb::{Database, StorageBackend};

use super::*;

fn record(door: &str) -> JournalRecord {
    let close = Close::Shell { line: b"echo \xff".to_vec() };
    JournalRecord::new(door, Client::alone([192, 0, 2, 1].into()), Duration::from_secs(60), close)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Opens a journal whose last writer may still be letting go of it: of the first slot, or no other.
pub(crate) fn open(folder: &Path, stem: &str) -> (Journal, Vec<(u64, JournalRecord)>) {
    let file = fs::File::open(folder.join(format!("{stem}.redb"))).unwrap();
    file.lock().unwrap();
    drop(file);
    Journal::open(folder, stem, Arc::new(())).unwrap()
}

fn doors(records: &[(u64, JournalRecord)]) -> Vec<&str> {
    records.iter().map(|(_, record)| record.door.as_str()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_was_put_and_not_erased_is_there_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let (journal, records) = Journal::open(&folder, "postern", Arc::new(())).unwrap();
    assert_eq!(records, []);
    let (a, b) = block_on(async {
        (journal.put(&record("a"), None).await.unwrap().0, journal.put(&record("z"), None).await.unwrap().0)
    });
    journal.erase(a, None);
    journal.rewrite(b, &record("b"));
    drop(journal);
    let (journal, records) = open(&folder, "postern");
    assert_eq!(records.iter().map(|(id, r)| (*id, r.door.as_str())).collect::<Vec<_>>(), [(b, "b")]);
    assert_eq!(records[0].1.close, record("b").close);
    assert!(block_on(journal.put(&record("c"), None)).unwrap().0 > b, "numbers are not used again");
}

#[test]
fn a_clock_that_was_set_back_gives_no_more_time_and_one_set_forward_gives_none() {
    let fresh = record("a");
    assert!(fresh.remaining() <= Duration::from_secs(60) && fresh.remaining() > Duration::from_secs(50));
    let set_back = JournalRecord { until: fresh.until + 86_400_000, ..fresh.clone() };
    assert_eq!(set_back.remaining(), Duration::from_secs(60));
    let set_forward = JournalRecord { until: fresh.until - 86_400_000, ..fresh };
    assert_eq!(set_forward.remaining(), Duration::ZERO);
}

#[test]
fn a_damaged_journal_is_kept_aside_and_a_new_one_begun() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["postern.redb", "postern-3.redb"] {
        fs::write(dir.path().join(name), vec![0x5a; 8192]).unwrap();
    }
    let (_, records) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    assert_eq!(records, []);
    for name in ["postern.damaged", "postern-3.damaged"] {
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), vec![0x5a; 8192]);
    }
    assert!(!dir.path().join("postern-3.redb").exists());
}

#[test]
fn folder_and_files_are_ours_alone_whoever_made_them() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let (_journal, _) = Journal::open(&folder, "postern", Arc::new(())).unwrap();
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.contains(&folder.join("postern.redb")), "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_folder_that_cannot_be_ours_alone_is_refused_with_the_remedy_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("other")).unwrap();
    for (given, words) in [(0o1777, "is for everybody's files"), (0o777, "can be written by others")] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(given)).unwrap();
        let error = Journal::open(dir.path(), "postern", Arc::new(())).unwrap_err().to_string();
        assert!(error.contains(words) && error.ends_with("by STATE_DIRECTORY"), "{error}");
        assert_eq!(mode(dir.path()), given);
    }
    // Nobody else can exchange a file there, and the mode is not ours to change.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    assert_eq!(mode(dir.path()), 0o755);
}

#[test]
fn a_lock_that_a_stranger_has_on_an_old_file_means_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("postern.redb");
    let (journal, _) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    block_on(journal.put(&record("lamp"), None)).unwrap();
    drop(journal);
    drop(open(dir.path(), "postern"));
    fs::File::open(&path).unwrap().lock().unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    // Reading is enough for both kinds of lock.
    let stranger = fs::File::open(&path).unwrap();
    stranger.lock().unwrap();
    let before = stranger.metadata().unwrap().ino();
    let (journal, records) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    assert_eq!(doors(&records), ["lamp"]);
    assert_eq!(mode(&path), 0o600);
    assert_ne!(fs::metadata(&path).unwrap().ino(), before, "the stranger has another file open");
    block_on(journal.put(&record("bell"), None)).unwrap();
    assert!(!dir.path().join("postern-2.redb").exists());
}

#[test]
fn an_old_file_that_a_living_daemon_of_a_version_before_holds_is_left_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("postern.redb");
    let living = Database::create(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    let (_journal, _) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    assert!(dir.path().join("postern-2.redb").exists());
    drop(living);
}

#[test]
fn what_others_could_have_written_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("postern.redb");
    let (journal, _) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    block_on(journal.put(&record("lamp"), None)).unwrap();
    drop(journal);
    drop(open(dir.path(), "postern"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let (journal, records) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    assert_eq!(records, []);
    assert!(dir.path().join("postern.damaged").exists());
    drop(journal);
    drop(open(dir.path(), "postern"));
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
    Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    assert!(!dir.path().join("elsewhere").exists());
}

#[test]
fn each_living_daemon_has_a_journal_and_what_the_dead_left_goes_to_who_starts_next() {
    let dir = tempfile::tempdir().unwrap();
    let start = |stem| Journal::open(dir.path(), stem, Arc::new(())).unwrap();
    let (first, _) = start("postern");
    let (second, records) = start("postern");
    let (knockd, _) = start("knockd");
    assert_eq!(records, []);
    for (journal, door) in [(&first, "first"), (&second, "second"), (&knockd, "knockd")] {
        block_on(journal.put(&record(door), None)).unwrap();
    }
    // The dead let go of theirs; whoever lives keeps its own.
    drop((second, knockd));
    drop(fs::File::open(dir.path().join("postern-2.redb")).map(|file| file.lock().unwrap()));
    drop(fs::File::open(dir.path().join("knockd.redb")).map(|file| file.lock().unwrap()));
    let (third, records) = start("postern");
    assert_eq!(doors(&records), ["second", "knockd"]);
    assert!(!dir.path().join("knockd.redb").exists());
    assert_eq!(start("postern").1, [], "taken over once");
    // What was taken over is in the journal of the one who did.
    for (id, record) in &records {
        third.rewrite(*id, record);
    }
    third.erase(records[0].0, None);
    drop(third);
    drop(fs::File::open(dir.path().join("postern-2.redb")).map(|file| file.lock().unwrap()));
    let (_, records) = start("knockd");
    assert_eq!(doors(&records), ["knockd"]);
    drop(first);
}

#[test]
fn a_record_that_a_crash_left_in_two_files_is_taken_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    block_on(journal.put(&record("lamp"), None)).unwrap();
    drop(journal);
    drop(open(dir.path(), "postern"));
    drop(fs::File::open(dir.path().join("postern.redb")).map(|file| file.lock().unwrap()));
    fs::copy(dir.path().join("postern.redb"), dir.path().join("knockd-5.redb")).unwrap();
    let (_, records) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    assert_eq!(doors(&records), ["lamp"]);
    assert!(!dir.path().join("knockd-5.redb").exists());
}

#[test]
fn starts_at_the_same_moment_share_nothing_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    block_on(journal.put(&record("lamp"), None)).unwrap();
    drop(journal);
    thread::scope(|scope| {
        let start = || {
            let (journal, records) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
            (block_on(journal.put(&record("own"), None)).unwrap().0, journal, records.len())
        };
        let started: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        let started: Vec<_> = started.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(started.iter().map(|(.., records)| records).sum::<usize>(), 1);
    });
    let files = fs::read_dir(dir.path()).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.filter(|name| name.ends_with(".redb")).count() >= 8);
}

#[test]
fn who_goes_on_for_another_waits_for_its_journal_and_takes_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    let (second, _) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    assert_eq!((first.number(), second.number()), (1, 2));
    block_on(second.put(&record("lamp"), None)).unwrap();
    // What the second was starting holds its lock a little longer than it, and the first is free meanwhile.
    drop(first);
    drop(open(dir.path(), "postern"));
    let letting_go = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(second);
    });
    let (next, records) = Journal::open_after(Some(2), dir.path(), "postern", Arc::new(())).unwrap();
    assert_eq!((next.number(), doors(&records)), (2, vec!["lamp"]));
    letting_go.join().unwrap();
    // Another daemon has it for good.
    let (other, records) = Journal::open_after(Some(2), dir.path(), "postern", Arc::new(())).unwrap();
    assert_eq!((other.number(), records.len()), (1, 0));
}

#[test]
fn when_all_journals_are_held_there_is_a_clear_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let journals: Vec<_> =
        (0..16).map(|_| Journal::open(dir.path(), "postern", Arc::new(())).unwrap()).collect();
    let error = Journal::open(dir.path(), "postern", Arc::new(())).unwrap_err().to_string();
    assert!(error.contains("the 16 journals in") && error.contains("STATE_DIRECTORY"), "{error}");
    Journal::open(dir.path(), "knockd", Arc::new(())).unwrap();
    drop(journals);
}

/// A disk that is full when told to, and keeps what it has.
#[derive(Debug, Default)]
struct Shelf {
    memory: InMemoryBackend,
    is_full: AtomicBool,
    opened: AtomicBool,
}

/// A shelf as one database has it open.
#[derive(Debug)]
struct Loan(Arc<Shelf>);

impl Loan {
    fn unless_full(&self) -> io::Result<()> {
        match self.0.is_full.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Loan {
    fn len(&self) -> io::Result<u64> {
        self.0.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.unless_full()?;
        self.0.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.unless_full()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.unless_full()?;
        self.0.memory.write(offset, data)
    }
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_is_used_again_without_a_restart() {
    let shelf = Arc::new(Shelf::default());
    let opener = || -> journal_file::OpenDatabase {
        let shelf = Arc::clone(&shelf);
        Box::new(move || {
            shelf.opened.store(true, Ordering::Relaxed);
            Database::builder().create_with_backend(Loan(Arc::clone(&shelf)))
        })
    };
    let database = opener()().unwrap();
    let writer = Writer::new("state/postern.redb".into(), Some(database), 1, opener(), Arc::new(()));
    let journal = Journal::write_by(writer, 1).unwrap();
    let put = |door: &str| block_on(journal.put(&record(door), None)).map(|(id, _)| id);
    let (lamp, bell, horn) = (put("lamp").unwrap(), put("bell").unwrap(), put("horn").unwrap());

    shelf.is_full.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let error = put("refused").unwrap_err();
        assert!(error.contains("state/postern.redb cannot be written"), "{error}");
    }
    journal.erase(bell, None);
    journal.rewrite(horn, &record("siren"));
    journal.flush();
    shelf.opened.store(false, Ordering::Relaxed);

    shelf.is_full.store(false, Ordering::Relaxed);
    // It is tried by itself, so that nothing need come.
    for _ in 0..500 {
        if shelf.opened.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let mut late = put("late");
    for _ in 0..100 {
        if late.is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
        late = put("late");
    }
    late.unwrap();
    journal.flush();
    drop(journal);
    // As a next start would read it.
    let rows = loop {
        thread::sleep(Duration::from_millis(10));
        if Arc::strong_count(&shelf) == 1 {
            let database = opener()().unwrap();
            break journal_file::rows(&database).unwrap();
        }
    };
    let doors: Vec<_> = rows.iter().map(|(id, bytes)| (*id, parse(bytes, &()).unwrap().door)).collect();
    let doors: Vec<_> = doors.iter().map(|(id, door)| (*id, door.as_str())).collect();
    assert_eq!(doors[..2], [(lamp, "lamp"), (horn, "siren")]);
    assert_eq!(doors[2..].iter().map(|(_, door)| *door).collect::<Vec<_>>(), ["late"]);
}

#[test]
fn a_client_stands_in_a_record_as_people_write_it() {
    for (text, client) in [
        // What every version wrote.
        ("192.0.2.1", Client::alone([192, 0, 2, 1].into())),
        ("fe80::1", Client::alone("fe80::1".parse().unwrap())),
        ("fe80::1%3", Client::on_link("fe80::1".parse().unwrap(), 3)),
        ("2001:db8::/64", Client::prefix("2001:db8::/64".parse().unwrap())),
    ] {
        let written = JournalRecord { client, ..record("a") };
        let json = serde_json::to_string(&written).unwrap();
        assert!(json.contains(&format!(r#""client":"{text}""#)), "{json}");
        assert_eq!(serde_json::from_str::<JournalRecord>(&json).unwrap(), written);
    }
}

#[test]
fn whose_an_opening_is_comes_back_and_what_is_no_note_costs_the_owners_alone() {
    let note = OpeningNote::from_bytes(&[1, 2, 250]).unwrap();
    let written = JournalRecord { note: note.clone(), ..record("a") };
    let json = serde_json::to_string(&written).unwrap();
    assert!(json.ends_with(r#","note":[1,2,250]}"#), "{json}");
    assert_eq!(serde_json::from_str::<JournalRecord>(&json).unwrap(), written);
    // As the version before wrote it, which reads what this one writes as well: it skips what it does not know.
    let before = json.replace(r#","note":[1,2,250]"#, "");
    assert_eq!(
        before,
        serde_json::to_string(&JournalRecord { note: OpeningNote::default(), ..written.clone() }).unwrap()
    );
    let long = format!("[{}1]", "1,".repeat(postern_core::MOST_NOTE));
    for odd in ["null", "7", "\"x\"", "[256]", "[-1]", "{}", "[[]]", &long] {
        let json = json.replace("[1,2,250]", odd);
        let read = serde_json::from_str::<JournalRecord>(&json).unwrap();
        assert_eq!(read, JournalRecord { note: OpeningNote::default(), ..written.clone() }, "{odd}");
    }
}

#[test]
fn a_journal_that_is_cut_off_anywhere_says_what_was_written_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
    let noted = |door: &str, byte| {
        let note = OpeningNote::from_bytes(&[byte; 29]).unwrap();
        JournalRecord { note, ..record(door) }
    };
    let written = [noted("lamp", 1), noted("bell", 2), noted("horn", 3)];
    let rows = written.each_ref().map(|record| block_on(journal.put(record, None)).unwrap().0);
    let changed = noted("bell", 4);
    journal.rewrite(rows[1], &changed);
    journal.flush();
    // As a daemon that is killed leaves it.
    let bytes = fs::read(dir.path().join("postern.redb")).unwrap();
    let mut whole = 0;
    for cut in (0..=61).map(|n| bytes.len() * n / 61) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postern.redb");
        fs::write(&path, &bytes[..cut]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let (_journal, read) = Journal::open(dir.path(), "postern", Arc::new(())).unwrap();
        let is_written = |record: &JournalRecord| written.contains(record) || *record == changed;
        assert!(read.iter().all(|(_, record)| is_written(record)), "{cut}: {read:?}");
        whole += usize::from(read.iter().any(|(_, record)| *record == changed) && read.len() == 3);
    }
    assert!(whole > 0, "what is not cut off is there");
}
