use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::thread;

use rustix::fs::{CWD, mknodat, utimensat};
use tempfile::TempDir;

use super::*;

struct World {
    dir: TempDir,
    cache: CodeCache,
}

impl World {
    fn new() -> Self {
        Self::within(CacheLimits::default())
    }

    fn within(limits: CacheLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(dir.path(), None, limits).unwrap();
        Self { dir, cache }
    }

    fn store(&self, n: u8, code: &[u8]) -> Entry {
        self.cache.store(&key(n), "a", 7, &file_of(code), code.len() as u64).unwrap()
    }

    fn place(&self, n: u8) -> PathBuf {
        self.dir.path().join(key(n).file_name())
    }

    /// What another process finds.
    fn found(&self, n: u8) -> Option<Vec<u8>> {
        let cache = CodeCache::open(self.dir.path(), None, CacheLimits::default()).unwrap();
        cache.find(&key(n), "a").map(|entry| read(&entry))
    }

    /// Another process of the same daemon, after this one.
    fn restarted(self) -> Self {
        let limits = self.cache.limits;
        let cache = CodeCache::open(self.dir.path(), None, limits).unwrap();
        Self { dir: self.dir, cache }
    }

    fn store_for(&self, owner: &str, key: &CodeKey, code: &[u8]) {
        self.cache.store(key, owner, 7, &file_of(code), code.len() as u64).unwrap();
    }

    fn need(&self, needed: &[(CodeKey, &str)]) {
        self.cache.need(needed.iter().copied());
        self.cache.write_owners();
    }

    fn has(&self, key: &CodeKey) -> bool {
        self.dir.path().join(key.file_name()).exists()
    }

    fn names(&self) -> usize {
        fs::read_dir(self.dir.path()).unwrap().count()
    }
}

fn key(n: u8) -> CodeKey {
    CodeKey::new([n; 32], [9; 16])
}

/// One of very many modules.
fn module(n: u32) -> CodeKey {
    let mut digest = [0xff; 32];
    digest[..4].copy_from_slice(&n.to_le_bytes());
    CodeKey::new(digest, [9; 16])
}

fn file_of(code: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(code).unwrap();
    file
}

fn read(entry: &Entry) -> Vec<u8> {
    let size = usize::try_from(entry.file.metadata().unwrap().len()).unwrap();
    let mut code = vec![0; size - Trailer::SIZE];
    entry.file.read_exact_at(&mut code, 0).unwrap();
    assert_eq!(entry.label, 7);
    code
}

/// More than is read at once, and not a multiple of it.
fn long() -> Vec<u8> {
    (0..600_001_u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect()
}

#[test]
fn what_was_stored_is_found_by_its_key_alone() {
    let world = World::new();
    for (n, code) in [(1, long()), (2, b"short".to_vec()), (3, Vec::new())] {
        assert!(world.cache.find(&key(n), "a").is_none());
        assert_eq!(read(&world.store(n, &code)), code);
        for _ in 0..2 {
            assert_eq!(read(&world.cache.find(&key(n), "a").unwrap()), code);
        }
        assert_eq!(world.found(n).unwrap(), code);
        assert_eq!(world.place(n).metadata().unwrap().mode() & 0o7777, 0o600);
    }
    assert_eq!(world.names(), 3);
}

#[test]
fn damage_is_found_and_removed() {
    let size = long().len() + Trailer::SIZE;
    for at in [0, 1, 300_000, size - Trailer::SIZE, size - 16, size - 8, size - 4, size - 1] {
        let world = World::new();
        world.store(1, &long());
        let mut bytes = fs::read(world.place(1)).unwrap();
        bytes[at] ^= 0x10;
        fs::write(world.place(1), bytes).unwrap();
        assert!(world.found(1).is_none(), "{at}");
        assert!(!world.place(1).exists(), "{at}");
        world.store(1, &long());
        assert_eq!(world.found(1).unwrap(), long());
    }
}

#[test]
fn a_cut_an_empty_and_a_longer_file_are_found() {
    let world = World::new();
    let changes: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes.truncate(1000), |bytes| bytes.clear(), |bytes| bytes.push(0)];
    for change in changes {
        world.store(1, &long());
        let mut bytes = fs::read(world.place(1)).unwrap();
        change(&mut bytes);
        fs::write(world.place(1), bytes).unwrap();
        // Also by the process that has checked it before.
        assert!(world.cache.find(&key(1), "a").is_none());
        assert!(!world.place(1).exists());
    }
}

#[test]
fn a_file_that_is_somebody_elses_is_not_taken() {
    let world = World::new();
    world.store(1, b"code");
    // Of another module.
    fs::copy(world.place(1), world.place(2)).unwrap();
    assert!(world.found(2).is_none() && !world.place(2).exists());
    // Others could have written it.
    fs::set_permissions(world.place(1), Permissions::from_mode(0o620)).unwrap();
    assert!(world.found(1).is_none() && !world.place(1).exists());
    world.store(1, b"code");
    symlink(world.place(1), world.place(3)).unwrap();
    assert!(world.found(3).is_none() && !world.place(3).exists() && world.place(1).exists());
    mknodat(CWD, world.place(4), FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert!(world.found(4).is_none() && !world.place(4).exists());
    if rustix::process::geteuid().is_root() {
        chown(world.place(1), Some(12345), None).unwrap();
        assert!(world.found(1).is_none() && !world.place(1).exists());
    }
}

#[test]
fn a_folder_that_others_can_write_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let open = || CodeCache::open(dir.path(), None, CacheLimits::default());
    for mode in [0o770, 0o707, 0o1777] {
        fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
        assert!(matches!(open(), Err(CacheError::Writable { .. })), "{mode:o}");
    }
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    open().unwrap();
    if rustix::process::geteuid().is_root() {
        chown(dir.path(), Some(12345), None).unwrap();
        let error = open().unwrap_err();
        assert!(error.to_string().contains("belongs to user 12345"), "{error}");
    }
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(CodeCache::open(&file, None, CacheLimits::default()), Err(CacheError::Folder { .. })));
    let beneath = dir.path().join("not there/cache");
    assert!(matches!(
        CodeCache::open(&beneath, None, CacheLimits::default()),
        Err(CacheError::Folder { .. })
    ));
}

#[test]
fn the_group_of_readers_can_read_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let group = rustix::process::getegid().as_raw();
    let cache = CodeCache::open(&dir.path().join("new"), Some(group), CacheLimits::default()).unwrap();
    cache.store(&key(1), "a", 7, &file_of(b"code"), 4).unwrap();
    let mode = |path: PathBuf| path.metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode(dir.path().join("new")), 0o750);
    assert_eq!(mode(dir.path().join("new").join(key(1).file_name())), 0o640);
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let world = World::within(CacheLimits { bytes: 1 << 20, files: 8 });
    let used = |n: u8, at: i64| {
        let times = Timestamps {
            last_access: Timespec { tv_sec: at, tv_nsec: 0 },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        };
        utimensat(CWD, world.place(n), &times, AtFlags::empty()).unwrap();
    };
    for n in 0..8 {
        world.store(n, b"code");
        used(n, 1000 + i64::from(n));
    }
    assert_eq!(world.names(), 8);
    // Used again, so it stays.
    assert!(world.cache.find(&key(0), "a").is_some());
    world.store(8, b"code");
    let left: Vec<_> = (0..9).filter(|n| world.place(*n).exists()).collect();
    assert_eq!(left, [0, 3, 4, 5, 6, 7, 8]);
    // What fills it alone drives the others out, and is not removed itself.
    world.store(9, &vec![1; (1 << 20) - Trailer::SIZE]);
    let left: Vec<_> = (0..10).filter(|n| world.place(*n).exists()).collect();
    assert_eq!(left, [9]);
    let large = file_of(&[]);
    assert!(matches!(world.cache.store(&key(10), "a", 7, &large, 1 << 20), Err(CacheError::TooLarge { .. })));
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let world = World::new();
    // It has fewer bytes than it should.
    let error = world.cache.store(&key(1), "a", 7, &file_of(b"code"), 5).unwrap_err();
    assert!(matches!(error, CacheError::Write { .. }));
    assert_eq!(world.names(), 0);
    fs::remove_dir(world.dir.path()).unwrap();
    assert!(world.cache.store(&key(1), "a", 7, &file_of(b"code"), 4).is_err());
    assert!(world.cache.find(&key(1), "a").is_none());
}

#[test]
fn what_a_process_left_half_written_is_removed_in_time() {
    let world = World::within(CacheLimits { bytes: 1 << 20, files: 1 });
    let (old, new) = (world.dir.path().join("unfinished-1-0"), world.dir.path().join("unfinished-2-0"));
    for file in [&old, &new] {
        fs::write(file, "half").unwrap();
    }
    File::options().write(true).open(&old).unwrap().set_modified(UNIX_EPOCH).unwrap();
    world.store(1, b"code");
    assert!(!old.exists() && new.exists());
}

#[test]
fn several_processes_use_one_cache() {
    let world = World::new();
    let (folder, code) = (world.dir.path(), long());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = CodeCache::open(folder, None, CacheLimits::default()).unwrap();
                for n in (0..40).map(|n| n % 5) {
                    match cache.find(&key(n), "a") {
                        Some(entry) => assert_eq!(read(&entry), code),
                        None => {
                            drop(cache.store(&key(n), "a", 7, &file_of(&code), code.len() as u64).unwrap())
                        }
                    }
                    if n == 4 {
                        cache.remove(&key(n));
                    }
                }
            });
        }
    });
    let left: Vec<_> = (0..4).filter(|n| world.found(*n) == Some(code.clone())).collect();
    assert_eq!(left, [0, 1, 2, 3]);
}

#[test]
fn who_changes_its_module_a_thousand_times_drives_out_its_own_alone() {
    let mut world = World::within(CacheLimits { bytes: 1 << 20, files: 64 });
    // The host and b run one each, and b has another that it may go back to.
    for (n, owner) in [(0, "host"), (1, "b"), (2, "b")] {
        world.store_for(owner, &key(n), b"code");
    }
    for n in 0..1000 {
        world.store_for("a", &module(n), b"code");
        world.need(&[(key(0), "host"), (key(1), "b"), (module(n), "a")]);
        for n in 0..3 {
            assert!(world.place(n).exists(), "{n}");
        }
        if n % 100 == 7 {
            world = world.restarted();
        }
        if n % 100 == 57 {
            fs::remove_file(world.dir.path().join("owners")).unwrap();
            world = world.restarted();
            // As at a start.
            for (n, owner) in [(0, "host"), (1, "b"), (2, "b")] {
                assert!(world.cache.find(&key(n), owner).is_some());
            }
        }
    }
    assert!(world.has(&module(999)) && world.has(&module(998)) && !world.has(&module(0)));
    assert!(world.names() <= 64 + 4);
}

#[test]
fn what_is_needed_does_not_go_however_much_it_is() {
    let world = World::within(CacheLimits { bytes: 1000, files: 8 });
    let needed: Vec<_> = (0..30).map(|n| (module(n), "host")).collect();
    for n in 0..30 {
        world.store_for("host", &module(n), b"code");
        // It is being prepared one after the other.
        world.need(&needed);
    }
    // What was needed is so until something else is said, by another process as well.
    let world = world.restarted();
    (100..200).for_each(|n| world.store_for("a", &module(n), b"code"));
    assert!(needed.iter().all(|(key, _)| world.has(key)));
    let left = (100..200).filter(|n| world.has(&module(*n))).count();
    assert!((7..=8).contains(&left), "{left}");
    // What is needed no more counts for its owner, and goes.
    world.need(&needed[..3]);
    world.store_for("b", &key(1), b"code");
    let left = needed.iter().filter(|(key, _)| world.has(key)).count();
    assert!((3..=6).contains(&left), "{left}");
    assert!(needed[..3].iter().all(|(key, _)| world.has(key)) && world.has(&key(1)));
}

#[test]
fn what_two_want_is_there_as_long_as_one_of_them_has_it() {
    let world = World::within(CacheLimits { bytes: 1 << 20, files: 8 });
    world.store_for("b", &key(1), b"code");
    assert!(world.cache.find(&key(1), "a").is_some());
    let world = {
        world.need(&[]);
        world.restarted()
    };
    (0..100).for_each(|n| world.store_for("a", &module(n), b"code"));
    assert!(world.place(1).exists());
    // Whoever has lost it can want it again.
    assert!(world.cache.find(&key(1), "a").is_some());
    (100..200).for_each(|n| world.store_for("a", &module(n), b"code"));
    assert!(world.place(1).exists());
}

#[test]
fn code_that_fills_the_cache_drives_out_nobody_within_its_part() {
    let world = World::within(CacheLimits { bytes: 1 << 20, files: 100 });
    world.store_for("b", &key(1), &vec![1; 300_000]);
    (10..20).for_each(|n| world.store_for("a", &module(n), &vec![1; 60_000]));
    world.store_for("a", &module(20), &vec![1; 1_000_000]);
    assert!(world.place(1).exists() && world.has(&module(20)));
    assert!((10..20).all(|n| !world.has(&module(n))));
    // It stays until another comes.
    world.store_for("a", &module(21), b"code");
    assert!(world.place(1).exists() && !world.has(&module(20)) && world.has(&module(21)));
}

#[test]
fn who_wants_what_may_be_damaged_lost_or_another_users() {
    type Change = fn(&Path);
    let changes: [Change; 7] = [
        |file| fs::remove_file(file).unwrap(),
        |file| fs::write(file, "").unwrap(),
        |file| fs::write(file, [0xff, 0xfe, b'\n', 0]).unwrap(),
        |file| fs::write(file, vec![b'a'; 10 << 20]).unwrap(),
        |file| fs::set_permissions(file, Permissions::from_mode(0o666)).unwrap(),
        |file| {
            fs::remove_file(file).unwrap();
            symlink("/dev/zero", file).unwrap();
        },
        |file| {
            fs::remove_file(file).unwrap();
            mknodat(CWD, file, FileType::Fifo, Mode::RWXU, 0).unwrap();
        },
    ];
    for (n, change) in changes.iter().enumerate() {
        let world = World::within(CacheLimits { bytes: 1 << 20, files: 8 });
        world.store_for("b", &key(1), b"code");
        world.need(&[(key(1), "b")]);
        let file = world.dir.path().join("owners");
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        change(&file);
        let world = world.restarted();
        assert!(!world.cache.owners.lock().unwrap().is_needed(&key(1)), "{n}");
        assert!(world.cache.find(&key(1), "b").is_some(), "{n}");
        world.need(&[(key(1), "b")]);
        assert!(world.restarted().cache.owners.lock().unwrap().is_needed(&key(1)), "{n}");
    }
}

#[test]
fn no_more_is_known_of_owners_than_there_can_be_code() {
    let world = World::within(CacheLimits { bytes: 1 << 20, files: 8 });
    for n in 0..1000 {
        // Another process stores and removes it.
        let other = CodeCache::open(world.dir.path(), None, CacheLimits::default()).unwrap();
        other.store(&module(n), "a", 7, &file_of(b"code"), 4).unwrap();
        assert!(world.cache.find(&module(n), "a").is_some());
        other.remove(&module(n));
    }
    assert!(world.cache.owners.lock().unwrap().counts().0 <= 33);
}
