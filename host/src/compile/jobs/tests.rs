use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use super::*;

/// One of the host's, which waits until it is made or this is so.
fn asker(is_overtaken: impl Fn() -> bool + Send + Sync + 'static) -> WaitingLoad {
    WaitingLoad { owner: TenantId::host(), is_overtaken: Arc::new(is_overtaken), until: None }
}

fn patient() -> WaitingLoad {
    asker(|| false)
}

/// A tenant's, which waits so long.
fn of(tenant: &str, patience: Duration) -> WaitingLoad {
    WaitingLoad { owner: TenantId::new(tenant), until: Some(Instant::now() + patience), ..patient() }
}

/// A flag, and what asks for it.
fn flag() -> (Arc<AtomicBool>, impl Fn() -> bool + Clone + Send + Sync + 'static) {
    let flag = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&flag);
    (flag, move || asked.load(Ordering::SeqCst))
}

#[test]
fn one_does_it_for_all_who_want_it() {
    let jobs = Jobs::new(2);
    let done = Arc::new(AtomicUsize::new(0));
    let make = || {
        let done = Arc::clone(&done);
        jobs.make(7, patient(), move |_| {
            thread::sleep(Duration::from_millis(50));
            Some(done.fetch_add(1, Ordering::SeqCst))
        })
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
        assert!(all.into_iter().all(|made| made.join().unwrap() == JobOutcome::Made(0)));
    });
    assert_eq!(make(), JobOutcome::Made(1), "nothing is kept here");
}

#[test]
fn no_more_at_once_than_there_may_be() {
    let jobs = Jobs::new(2);
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    thread::scope(|scope| {
        let one = |n| {
            let (jobs, counts) = (&jobs, Arc::clone(&counts));
            scope.spawn(move || {
                jobs.make(n, patient(), move |_| {
                    let (running, most) = &*counts;
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(20));
                    running.fetch_sub(1, Ordering::SeqCst);
                    Some(())
                })
            })
        };
        let all: Vec<_> = (0..6).map(one).collect();
        assert!(all.into_iter().all(|made| made.join().unwrap() == JobOutcome::Made(())));
    });
    assert_eq!(counts.1.load(Ordering::SeqCst), 2);
}

/// Works until nobody wants it.
fn endless(is_wanted: &dyn Fn() -> bool) -> Option<()> {
    while is_wanted() {
        thread::sleep(Duration::from_millis(5));
    }
    None
}

#[test]
fn what_nobody_waits_for_is_given_up() {
    let jobs = Jobs::new(1);
    let (overtake, is_overtaken) = flag();
    let began = Instant::now();
    thread::scope(|scope| {
        let endless_one = scope.spawn(|| jobs.make(1, asker(is_overtaken), endless));
        // This one waits for the other's thread, then does its own.
        thread::sleep(Duration::from_millis(20));
        let other = scope.spawn(|| jobs.make(2, patient(), |_| Some(())));
        overtake.store(true, Ordering::SeqCst);
        assert_eq!(
            (endless_one.join().unwrap(), other.join().unwrap()),
            (JobOutcome::Overtaken, JobOutcome::Made(()))
        );
    });
    assert!(began.elapsed() >= GRACE && began.elapsed() < 5 * GRACE, "{:?}", began.elapsed());
}

#[test]
fn what_a_newer_load_waits_for_goes_on() {
    let jobs = Jobs::new(1);
    let (overtake, is_overtaken) = flag();
    let (finish, finished) = channel();
    thread::scope(|scope| {
        let work = move |is_wanted: &dyn Fn() -> bool| {
            while finished.try_recv().is_err() {
                if !is_wanted() {
                    return None;
                }
                thread::sleep(Duration::from_millis(5));
            }
            Some(9)
        };
        let jobs = &jobs;
        let older = scope.spawn(move || jobs.make(1, asker(is_overtaken), work));
        thread::sleep(Duration::from_millis(50));
        overtake.store(true, Ordering::SeqCst);
        let newer = scope.spawn(|| jobs.make(1, patient(), |_| panic!("the other one does it")));
        // Another that is overtaken while it waits ends without it.
        assert_eq!(jobs.make(1, asker(|| true), |_| panic!("as before")), JobOutcome::Overtaken);
        thread::sleep(GRACE + Duration::from_millis(300));
        finish.send(()).unwrap();
        assert_eq!(
            (older.join().unwrap(), newer.join().unwrap()),
            (JobOutcome::Overtaken, JobOutcome::Made(9))
        );
    });
}

#[test]
fn a_panic_ends_its_job() {
    let jobs = Jobs::<_, ()>::new(1);
    assert_eq!(jobs.make(1, patient(), |_| panic!("of this test")), JobOutcome::Overtaken);
    assert_eq!(jobs.make(1, patient(), |_| Some(())), JobOutcome::Made(()));
}

#[test]
fn who_has_no_patience_is_told_when_all_of_its_own_is_made_and_finds_it_then() {
    let jobs = Jobs::new(2);
    let (tell, told) = channel();
    jobs.tell_late(Box::new(move || tell.send(()).unwrap()));
    let (finish, is_finished) = flag();
    for n in 0..3 {
        let is_finished = is_finished.clone();
        let made = jobs.make(n, of("a", Duration::from_millis(10)), move |_| {
            while !is_finished() {
                thread::sleep(Duration::from_millis(5));
            }
            Some(n)
        });
        assert_eq!(made, JobOutcome::Late);
    }
    finish.store(true, Ordering::SeqCst);
    told.recv_timeout(Duration::from_secs(10)).unwrap();
    let again = |n| jobs.make(n, of("a", Duration::ZERO), move |_| Some(n + 10));
    assert_eq!([0, 1, 2].map(again), [0, 1, 2].map(JobOutcome::Made));
    assert!(told.try_recv().is_err(), "it was told once");
    assert_eq!(jobs.make(0, patient(), |_| Some(20)), JobOutcome::Made(20), "a result is there once");
}

#[test]
fn a_tenant_that_keeps_its_threads_busy_holds_up_nobody_else() {
    let jobs = Jobs::new(2);
    let (finish, is_finished) = flag();
    for n in 0..MOST_LATE + 20 {
        let is_finished = is_finished.clone();
        let made = jobs.make(n, of("a", Duration::ZERO), move |_| {
            while !is_finished() {
                thread::sleep(Duration::from_millis(5));
            }
            Some(())
        });
        assert_eq!(made, JobOutcome::Late);
    }
    assert!(jobs.0.lock().jobs.len() <= MOST_LATE + 1, "what waits is bounded");
    for owner in ["b", "c", TenantId::HOST] {
        let asker = WaitingLoad { owner: TenantId::new(owner), ..patient() };
        assert_eq!(jobs.make(1000, asker, |_| Some(())), JobOutcome::Made(()), "{owner}");
    }
    finish.store(true, Ordering::SeqCst);
}

#[test]
fn of_those_that_wait_the_owner_comes_first_that_had_least() {
    // One thread, so that the order shows.
    let jobs = Jobs::new(1);
    let (finish, is_finished) = flag();
    let first = is_finished.clone();
    let made = jobs.make(0, of("a", Duration::ZERO), move |_| {
        while !first() {
            thread::sleep(Duration::from_millis(5));
        }
        Some(())
    });
    assert_eq!(made, JobOutcome::Late);
    let (tell, order) = channel();
    for (n, owner) in [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, TenantId::HOST)] {
        let tell = tell.clone();
        let made = jobs.make(n, of(owner, Duration::ZERO), move |_| {
            tell.send(n).unwrap();
            Some(())
        });
        assert_eq!(made, JobOutcome::Late);
    }
    finish.store(true, Ordering::SeqCst);
    let order: Vec<_> = (0..5).map(|_| order.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    assert_eq!(order, [5, 3, 1, 4, 2]);
}
