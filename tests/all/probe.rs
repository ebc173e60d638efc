//! Probes come back from workers that judge, and from no others.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use postern_config::{Activity, Config};
use postern_core::Moment;
use postern_sandbox::{Generation, Loader, Pool, PoolContext, ProbeFault, Prober, Runtime};
use posternd::load_rules;
use posternd::module_code::Modules;

use crate::world::{POSTERN_TOML, knock};

const RULE: &str = "module = \"sequence\"\ndoor = \"ssh\"\n[settings]\nsequence = [\"1/udp\", \"2/udp\"]\n";

fn generation(runtime: &Runtime) -> Generation {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("postern.toml"), POSTERN_TOML).unwrap();
    std::fs::create_dir(dir.path().join("rules")).unwrap();
    std::fs::write(dir.path().join("rules/ssh.toml"), RULE).unwrap();
    let config = Config::load(&dir.path().join("postern.toml")).unwrap();
    let loader = Loader::new(runtime.clone(), Arc::new(())).unwrap();
    let modules = Modules::in_process(runtime, loader);
    load_rules(1, &config, &modules, &Activity::default()).unwrap()
}

/// A probe on a thread of its own.
fn probe(prober: Prober) -> Receiver<Result<(), ProbeFault>> {
    let (reply, answer) = channel();
    let work = move || drop(reply.send(prober.probe()));
    thread::Builder::new().stack_size(Runtime::STACK).spawn(work).unwrap();
    answer
}

#[test]
fn a_probe_comes_back_without_any_packet_and_not_from_a_worker_that_hangs() {
    for workers in [1, 3] {
        let runtime = Runtime::start().unwrap();
        let generation = generation(&runtime);
        // Judging asks for the time with the worker's lock held, and here that hangs.
        let (entered, is_in) = channel();
        let (release, stuck) = channel::<()>();
        let (entered, stuck) = (Mutex::new(entered), Mutex::new(stuck));
        let now = move || {
            entered.lock().unwrap().send(()).unwrap();
            // Until the other end is gone.
            let _ = stuck.lock().unwrap().recv();
            Moment::default()
        };
        let context = PoolContext {
            runtime,
            is_local: Arc::new(|_| true),
            now: Arc::new(now),
            ask: Arc::new(|_, _, _, _| ()),
            observer: Arc::new(()),
        };
        let pool = Pool::start(context, workers, Arc::new(generation)).unwrap();
        assert_eq!(probe(pool.prober().unwrap()).recv().unwrap(), Ok(()), "{workers}");

        let mut submitter = pool.submitter();
        let judging = thread::Builder::new().stack_size(Runtime::STACK).spawn(move || {
            submitter.offer(knock(Moment::default(), "192.0.2.1", "udp/1", ""));
            submitter.judge();
        });
        is_in.recv().unwrap();
        let answer = probe(pool.prober().unwrap());
        assert!(answer.recv_timeout(Duration::from_millis(100)).is_err(), "{workers}");
        drop(release);
        assert_eq!(answer.recv().unwrap(), Ok(()), "{workers}");
        judging.unwrap().join().unwrap();

        // Nobody waits for threads that have ended, and a prober keeps none from ending.
        let prober = pool.prober().unwrap();
        pool.stop();
        assert_eq!(probe(prober).recv().unwrap().is_err(), workers > 1);
    }
}
