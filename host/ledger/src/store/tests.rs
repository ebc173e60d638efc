use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use postern_core::TenantId;
use redb::StorageBackend;

use super::*;
use crate::LedgerError;
use crate::file::check;

/// Some day in 2026, in microseconds since 1970.
const NOW: u64 = 1_795_000_000_000_000;
const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const SMALL: Capacity = Capacity { of_a_rule: 4, in_all: 6 };

/// A disk that loses what it was not asked to keep, and that can fail.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Mutex<Sectors>>);

#[derive(Debug, Default)]
struct Sectors {
    /// It is made beside its place, and none that a crash left half made ever comes there.
    is_new: bool,
    seen: Vec<u8>,
    /// As of the last sync.
    kept: Vec<u8>,
    syncs: usize,
    /// The sync that fails; from then on everything does.
    fails_at: Option<usize>,
    has_failed: bool,
}

impl Default for Disk {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Sectors { is_new: true, ..Sectors::default() })))
    }
}

impl Disk {
    pub(crate) fn open(&self) -> Result<Store, LedgerError> {
        self.open_with(Capacity::default())
    }

    fn open_with(&self, room: Capacity) -> Result<Store, LedgerError> {
        let path = Path::new("ledger.redb");
        let opened = Database::builder().set_cache_size(1 << 20).create_with_backend(self.clone());
        let database = opened.map_err(|error| LedgerError::Open(path.to_owned(), error.into()))?;
        if self.0.lock().unwrap().is_new {
            Store::begin(&database).map_err(|error| LedgerError::Open(path.to_owned(), error))?;
            self.0.lock().unwrap().is_new = false;
        }
        Ok(Store::new(check(path, database)?, room))
    }

    fn syncs(&self) -> usize {
        self.0.lock().unwrap().syncs
    }

    /// Has the flush after so many more fail, and all that comes after it.
    pub(crate) fn fail_at(&self, sync: usize) {
        let mut sectors = self.0.lock().unwrap();
        sectors.fails_at = Some(sectors.syncs + sync);
    }

    /// The machine is switched on again. Of what was not kept, `keeps` says which pages are there all the same.
    fn restart(&self, mut keeps: impl FnMut(usize) -> bool) {
        const PAGE: usize = 4096;
        let mut sectors = self.0.lock().unwrap();
        let Sectors { seen, kept, .. } = &mut *sectors;
        for (number, page) in seen.chunks(PAGE).enumerate() {
            if keeps(number) {
                kept.resize(kept.len().max(number * PAGE + page.len()), 0);
                kept[number * PAGE..][..page.len()].copy_from_slice(page);
            }
        }
        *seen = kept.clone();
        *sectors = Sectors { kept: sectors.seen.clone(), seen: sectors.seen.clone(), ..Sectors::default() };
    }

    fn try_it<T>(&self, act: impl FnOnce(&mut Sectors) -> T) -> io::Result<T> {
        let mut sectors = self.0.lock().unwrap();
        match sectors.has_failed {
            true => Err(io::Error::other("the disk has failed")),
            false => Ok(act(&mut sectors)),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.lock().unwrap().seen[offset..][..out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.try_it(|sectors| sectors.seen.resize(usize::try_from(len).unwrap(), 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.try_it(|sectors| {
            sectors.syncs += 1;
            sectors.has_failed = sectors.fails_at == Some(sectors.syncs);
            if sectors.has_failed {
                return Err(io::Error::other("this flush failed"));
            }
            sectors.kept.clone_from(&sectors.seen);
            Ok(())
        })?
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.try_it(|sectors| sectors.seen[offset..][..data.len()].copy_from_slice(data))
    }
}

fn rule(name: &str) -> RuleId {
    RuleId { tenant: TenantId::host(), name: name.into() }
}

fn print(n: u32) -> Fingerprint {
    let mut print = [0; 32];
    print[..4].copy_from_slice(&n.to_be_bytes());
    print
}

fn token(name: &str, n: u32, until: Option<u64>) -> Wanted {
    Wanted { serial: 0, rule: rule(name), once: WantedOnce::Token { token: print(n), until }, most: None }
}

fn counter(name: &str, key: u32, value: u64) -> Wanted {
    Wanted { serial: 0, rule: rule(name), once: WantedOnce::Counter { key: print(key), value }, most: None }
}

/// What became of claims that come one after the other, in letters: granted, used, full.
fn claim(store: &Store, now: u64, batch: &[Wanted]) -> String {
    batch.iter().map(|wanted| letters(&store.claim(std::slice::from_ref(wanted), now).unwrap())).collect()
}

fn letters(results: &Results) -> String {
    let letter = |result: &Result<(), ClaimError>| match result {
        Ok(()) => 'g',
        Err(ClaimError::AlreadyUsed) => 'u',
        Err(ClaimError::Full) => 'f',
        Err(other) => panic!("{other:?}"),
    };
    results.iter().map(letter).collect()
}

#[test]
fn a_token_is_good_once_and_for_its_rule_only_also_after_a_restart() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    let tokens = [token("a", 1, None), token("a", 1, None), token("b", 1, None), token("a", 2, None)];
    assert_eq!(claim(&store, NOW, &tokens), "gugg");
    drop(store);
    disk.restart(|_| false);
    let store = disk.open().unwrap();
    assert_eq!(claim(&store, NOW, &tokens), "uuuu");
    assert_eq!(claim(&store, NOW, &[token("a", 3, None)]), "g");
}

#[test]
fn a_counter_grows_and_is_kept_as_one_number() {
    let disk = Disk::default();
    let store = disk.open_with(SMALL).unwrap();
    let values = [5, 5, 4, 6, 0].map(|value| counter("a", 1, value));
    assert_eq!(claim(&store, NOW, &values), "guugu");
    let zeros = [counter("a", 2, 0), counter("a", 2, 0), counter("b", 1, 0)];
    assert_eq!(claim(&store, NOW, &zeros), "gug");
    let many: Vec<_> = (7..100).map(|value| counter("a", 1, value)).collect();
    assert_eq!(claim(&store, NOW, &many), "g".repeat(93), "no more room is needed");
    drop(store);
    disk.restart(|_| false);
    let store = disk.open_with(SMALL).unwrap();
    assert_eq!(claim(&store, NOW, &[counter("a", 1, 99), counter("a", 1, 100)]), "ug");
}

#[test]
fn of_the_same_token_in_one_transaction_one_is_granted_and_it_costs_one_flush() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    let before = disk.syncs();
    let mut batch: Vec<_> = (0..100).map(|n| token("a", n % 10, None)).collect();
    batch.extend([counter("a", 1, 1), counter("a", 1, 1), counter("a", 1, 2)]);
    let granted = letters(&store.claim(&batch, NOW).unwrap());
    assert_eq!(granted, format!("{}{}gug", "g".repeat(10), "u".repeat(90)));
    assert_eq!(disk.syncs() - before, 2);
}

#[test]
fn what_was_used_before_is_refused_without_a_write() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    assert_eq!(claim(&store, NOW, &[token("a", 1, Some(NOW)), counter("a", 1, 1)]), "gg");
    let before = (disk.syncs(), disk.0.lock().unwrap().seen.clone());
    for _ in 0..50 {
        assert_eq!(claim(&store, NOW + 5 * MINUTE, &[token("a", 1, Some(NOW)), counter("a", 1, 1)]), "uu");
    }
    assert!((disk.syncs(), disk.0.lock().unwrap().seen.clone()) == before);
}

#[test]
fn a_full_ledger_refuses_rather_than_forgets() {
    let disk = Disk::default();
    let store = disk.open_with(SMALL).unwrap();
    let tokens = [1, 2, 3].map(|n| token("a", n, None));
    assert_eq!(claim(&store, NOW, &tokens), "ggg");
    // A counter's key needs as much room as a token.
    assert_eq!(claim(&store, NOW, &[counter("a", 1, 1), counter("a", 2, 1), token("a", 4, None)]), "gff");
    assert_eq!(claim(&store, NOW, &[counter("a", 1, 2)]), "g", "no more room is needed");
    // There is room for two more of all rules together.
    assert_eq!(claim(&store, NOW, &[1, 2, 3].map(|n| token("b", n, None))), "ggf");
    let years = 10 * 365 * 24 * 60 * MINUTE;
    assert_eq!(claim(&store, NOW + years, &tokens), "uuu");
    assert_eq!(claim(&store, NOW + years, &[token("c", 1, None)]), "f");
}

#[test]
fn what_no_rule_could_accept_any_more_makes_room() {
    let disk = Disk::default();
    let store = disk.open_with(SMALL).unwrap();
    let soon = [1, 2, 3, 4].map(|n| token("a", n, Some(NOW + MINUTE)));
    assert_eq!(claim(&store, NOW, &soon), "gggg");
    let next = token("a", 5, Some(NOW + 5 * MINUTE));
    assert_eq!(claim(&store, NOW + MINUTE, std::slice::from_ref(&next)), "f", "a knock may be judged late");
    assert_eq!(claim(&store, NOW + 2 * MINUTE + SECOND, &[next.clone(), next]), "gu");
    let more = [6, 7, 8].map(|n| token("a", n, Some(NOW + 5 * MINUTE)));
    assert_eq!(claim(&store, NOW + 2 * MINUTE + SECOND, &more), "ggg");
    let meta = store.database.begin_read().unwrap().open_table(META).unwrap();
    assert_eq!(number(&meta, "forgotten").unwrap(), NOW + MINUTE);
}

#[test]
fn what_was_forgotten_is_refused_for_ever_whatever_the_clock_says() {
    let disk = Disk::default();
    let mut store = disk.open_with(SMALL).unwrap();
    let old = [token("a", 1, Some(NOW + MINUTE)), token("a", 2, Some(NOW + 2 * MINUTE))];
    assert_eq!(claim(&store, NOW, &old), "gg");
    assert_eq!(claim(&store, NOW + 10 * MINUTE, &[token("b", 1, None)]), "g");
    assert_eq!(store.database.begin_read().unwrap().open_table(TOKENS).unwrap().len().unwrap(), 1);
    let rules = store.database.begin_read().unwrap().open_table(RULES).unwrap();
    assert_eq!(rules.len().unwrap(), 1, "nor is a rule of which nothing is kept");
    for restart in [false, true] {
        if restart {
            drop(store);
            disk.restart(|_| false);
            store = disk.open_with(SMALL).unwrap();
        }
        for now in [NOW + 10 * MINUTE, NOW, NOW - 1000 * MINUTE, 0] {
            assert_eq!(claim(&store, now, &old), "uu");
            // One that was never used, but could have been.
            assert_eq!(claim(&store, now, &[token("c", 9, Some(NOW + 2 * MINUTE))]), "u");
        }
    }
    assert_eq!(claim(&store, NOW, &[token("a", 9, Some(NOW + 2 * MINUTE + 1))]), "g");
    // What could be accepted for ever was never forgotten.
    assert_eq!(claim(&store, NOW, &[token("b", 1, None), token("b", 2, None)]), "ug");
}

#[test]
fn a_clock_that_was_far_ahead_refuses_only_what_ended_before_what_was_forgotten() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    assert_eq!(claim(&store, NOW, &[token("a", 1, Some(NOW + MINUTE))]), "g");
    let year = 365 * 24 * 60 * MINUTE;
    assert_eq!(claim(&store, NOW + year, &[token("b", 1, None)]), "g");
    let back = NOW + 2 * MINUTE;
    assert_eq!(claim(&store, back, &[token("a", 1, Some(NOW + MINUTE))]), "u");
    assert_eq!(claim(&store, back, &[token("a", 2, Some(back + MINUTE))]), "g");
}

#[test]
fn however_many_end_together_no_commit_forgets_more_than_its_share() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    let batch: Vec<_> = (0..500).map(|n| token("a", n, Some(NOW))).collect();
    store.claim(&batch, NOW).unwrap();
    let kept = || store.database.begin_read().unwrap().open_table(TOKENS).unwrap().len().unwrap();
    let mut before = kept();
    for n in 0.. {
        assert_eq!(claim(&store, NOW + 10 * MINUTE, &[token("b", n, None)]), "g");
        assert!(before - kept() < 18, "{before} {}", kept());
        before = kept();
        if before == u64::from(n) + 1 {
            break;
        }
        assert!(n < 100);
    }
    assert_eq!(claim(&store, NOW + 10 * MINUTE, &[token("a", 7, Some(NOW))]), "u");
}

#[test]
fn a_newer_layout_is_not_touched() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    assert_eq!(claim(&store, NOW, &[token("a", 1, None)]), "g");
    let transaction = store.database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("version", VERSION + 1).unwrap();
    transaction.commit().unwrap();
    drop(store);
    let error = disk.open().unwrap_err();
    assert!(matches!(error, LedgerError::OtherVersion(_, version) if version == VERSION + 1), "{error}");
    assert!(
        error.to_string().contains("was written by another version (layout 2, and this version knows 1)")
    );
}

/// Numbers that look random and are the same each time.
fn numbers(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    }
}

/// The daemon is killed, the machine loses power, or the disk fails, at each flush in turn; then everything is claimed again.
#[test]
fn whichever_flush_fails_no_token_is_granted_twice_and_no_whole_file_is_called_damaged() {
    let mut next = numbers(0x5eed);
    let (mut rounds, mut unclear) = (0, 0);
    for fails_at in 1..60 {
        for crash in 0..4 {
            let disk = Disk::default();
            drop(disk.open().unwrap());
            disk.fail_at(fails_at);
            let mut granted = Vec::new();
            let mut store = disk.open().ok();
            for n in 0..30 {
                let batch: Vec<_> = (0..3)
                    .map(|of| token("a", n * 3 + of, (of > 0).then_some(NOW + u64::from(n) * SECOND)))
                    .chain([counter("a", 1, u64::from(n))])
                    .collect();
                let now = NOW + u64::from(n) * 10 * SECOND;
                let Some(claimed) = store.as_ref().map(|store| store.claim(&batch, now)) else { break };
                match claimed {
                    Ok(results) => granted.extend(batch.into_iter().zip(results)),
                    Err(_) => {
                        unclear += 1;
                        break;
                    }
                }
            }
            assert!(granted.iter().all(|(_, result)| result.is_ok()));
            store.take();
            disk.restart(|_| match crash {
                0 => true,
                1 => false,
                _ => next().is_multiple_of(2),
            });
            let store =
                disk.open().unwrap_or_else(|error| panic!("flush {fails_at}, crash {crash}: {error}"));
            let again: Vec<_> = granted.into_iter().map(|(wanted, _)| wanted).collect();
            // Another clock as well.
            let results = claim(&store, NOW - MINUTE, &again);
            assert_eq!(results, "u".repeat(again.len()), "flush {fails_at}, crash {crash}");
            rounds += 1;
        }
    }
    assert!(rounds == 236 && unclear > 100, "{rounds} {unclear}");
}

/// A clean file in which one bit is another, or which is shorter, is refused, or is as it was.
#[test]
fn damage_makes_no_used_token_good_again() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    let tokens: Vec<_> = (0..400).map(|n| token("a", n, (n % 2 == 0).then_some(NOW))).collect();
    assert_eq!(letters(&store.claim(&tokens, NOW).unwrap()), "g".repeat(400));
    drop(store);
    let whole = disk.0.lock().unwrap().seen.clone();
    let mut next = numbers(0xbad);
    let (mut refused, mut same) = (0, 0);
    let used: Vec<_> = whole.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
    for round in 0..150 {
        let mut bytes = whole.clone();
        if round % 5 == 4 {
            bytes.truncate(usize::try_from(next() % whole.len() as u64).unwrap().max(1));
        } else {
            // Most of a file is empty; what is looked for is where it is not.
            let at = used[usize::try_from(next() % used.len() as u64).unwrap()];
            bytes[at] ^= 1 << (next() % 8);
        }
        let disk = Disk::default();
        *disk.0.lock().unwrap() = Sectors { seen: bytes, ..Sectors::default() };
        // The database may even panic; the ledger's thread catches that.
        let open = || catch_unwind(AssertUnwindSafe(|| disk.open())).ok();
        let Some(Ok(store)) = open() else {
            refused += 1;
            // It is not mended by being opened again.
            assert!(!matches!(open(), Some(Ok(_))), "round {round}");
            continue;
        };
        match catch_unwind(AssertUnwindSafe(|| store.claim(&tokens, NOW))) {
            Ok(Ok(results)) => {
                assert_eq!(letters(&results), "u".repeat(400), "round {round}");
                same += 1;
            }
            Ok(Err(_)) | Err(_) => refused += 1,
        }
    }
    assert!(refused > 30 && same > 30, "{refused} refused, {same} as they were");
}

/// A daemon is killed, and the disk has lost a part of what was committed last: that commit is not silently taken back.
#[test]
fn damage_of_the_newest_commit_after_a_crash_makes_no_used_token_good_again() {
    const PAGE: usize = 4096;
    let disk = Disk::default();
    let store = disk.open().unwrap();
    let seen = || disk.0.lock().unwrap().seen.clone();
    let tokens: Vec<_> = (0..40).map(|n| token("a", n, Some(NOW))).collect();
    assert_eq!(letters(&store.claim(&tokens[..39], NOW).unwrap()), "g".repeat(39));
    let before = seen();
    assert_eq!(letters(&store.claim(&tokens[39..], NOW).unwrap()), "g");
    // As it stands when the process dies: the database was not closed.
    let after = seen();
    let written = |page: &usize| after.chunks(PAGE).nth(*page) != before.chunks(PAGE).nth(*page);
    let mut refused = 0;
    for page in (1..after.len() / PAGE).filter(written) {
        for at in [page * PAGE, page * PAGE + 40, (page + 1) * PAGE - 1] {
            let mut bytes = after.clone();
            bytes[at] ^= 0x10;
            let disk = Disk::default();
            *disk.0.lock().unwrap() = Sectors { seen: bytes, ..Sectors::default() };
            match catch_unwind(AssertUnwindSafe(|| disk.open())) {
                Ok(Ok(store)) => assert_eq!(claim(&store, NOW, &tokens), "u".repeat(40), "page {page}"),
                _ => refused += 1,
            }
        }
    }
    assert!(refused > 3, "{refused}");
    drop(store);
}

#[test]
fn what_a_tenant_may_keep_is_counted_over_all_its_rules_and_nobody_elses() {
    let disk = Disk::default();
    let store = disk.open().unwrap();
    let of = |tenant: &str, name: &str, n| {
        let rule = RuleId { tenant: TenantId::new(tenant), name: name.into() };
        Wanted { rule, most: Some(3), ..token("", n, Some(NOW + u64::from(n))) }
    };
    let first = [of("a", "x", 1), of("a", "y", 1), of("a", "y", 2), of("a", "z", 1), of("a", "x", 9)];
    assert_eq!(claim(&store, NOW, &first), "gggff");
    // Names that begin like it, before and behind it.
    assert_eq!(claim(&store, NOW, &[of("aa", "x", 1), of("A", "x", 1), token("x", 1, None)]), "ggg");
    let counter = Wanted { rule: first[0].rule.clone(), most: Some(3), ..counter("", 1, 1) };
    assert_eq!(claim(&store, NOW, std::slice::from_ref(&counter)), "f");
    // Once its own are forgotten there is room again.
    assert_eq!(claim(&store, NOW + LATE + 2, &[counter, of("a", "w", 1000)]), "gg");
    assert_eq!(
        claim(&store, NOW, &[Wanted { most: None, ..of("a", "v", 1001) }]),
        "g",
        "the limit is the claim's"
    );
}
