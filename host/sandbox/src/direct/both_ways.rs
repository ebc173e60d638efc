//! A module run both ways, directly and as a component: wasmtime's own canonical ABI is what ours is held against.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use postern_core::{Detail, Direction, Knock, RuleId, RuleLimits, TcpFlags, TenantId, Timestamp, Transport};
use wasmtime::component::{Component, Linker};
use wasmtime::{Module, Store};

use super::DirectRulePre;
use crate::code::{Code, Started};
use crate::componentize::{Form, componentize, encode_component};
use crate::contract::{RulePre, add_to_linker};
use crate::guest::Guest;
use crate::store::too_long_answer;
use crate::{Runtime, store};

/// A guest that does and answers what its settings say. Settings are text of two letters a byte, `aa` for 0 to `pp` for 255; they come to lie at 4096, where
/// the answer of `configure` is taken from. A payload comes to lie at 8192, and so many bytes behind that as the source port says is the
/// answer of `judge` taken from, unless the payload is empty: then everything that the call was given is to be remembered.
pub const PARROT: &str = include_str!("parrot.wat");

/// Of one call; what is tested here is not time.
const CPU: Duration = Duration::from_millis(100);

/// A module both ways, started anew whenever it was thrown away.
pub struct Both {
    runtime: Runtime,
    codes: [Code; 2],
}

/// Both ways started.
pub struct Pair([(Started, Store<Guest>); 2]);

impl Both {
    /// Compiles a rule, which is a core module that can be called directly.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn new(module: &[u8]) -> Self {
        const IS_RULE: &str = "the module is a rule";
        let runtime = Runtime::start().expect("a runtime starts");
        let engine = runtime.engine();
        let form = componentize(module).expect(IS_RULE);
        assert!(matches!(form, Form::Direct(_)), "it would be called as a component");
        let mut linker = Linker::new(engine);
        add_to_linker(&mut linker).expect("the contract is linked");
        let component =
            Component::new(engine, encode_component(module).expect(IS_RULE).component).expect(IS_RULE);
        let component = linker.instantiate_pre(&component).and_then(RulePre::new).expect(IS_RULE);
        let direct = Module::new(engine, module)
            .and_then(|module| DirectRulePre::link(engine, &module))
            .expect(IS_RULE);
        Self { codes: [Code::Direct(direct), Code::Component(component)], runtime }
    }

    /// Starts it.
    ///
    /// # Panics
    /// If it faults.
    #[must_use]
    pub fn start(&self) -> Pair {
        Pair([0, 1].map(|way| {
            let rule = RuleId { tenant: TenantId::host(), name: "both".into() };
            let guest = Guest::new(&self.runtime, rule, RuleLimits::default(), Arc::new(()));
            let mut store = store::new(&self.runtime, guest);
            let started = store::call(&mut store, CPU, |store| self.codes[way].start(store));
            (started.expect("it starts"), store)
        }))
    }
}

impl Pair {
    /// What both ways say of settings; none if both fault.
    ///
    /// # Panics
    /// If they say different things.
    pub fn configure(&mut self, settings: &str) -> Option<String> {
        let answers = self
            .0
            .each_mut()
            .map(|(started, store)| store::call(store, CPU, |store| started.call_configure(store, settings)));
        agreed(answers, settings)
    }

    /// What both ways say of a knock; none if both fault.
    ///
    /// # Panics
    /// If they say different things.
    pub fn judge(&mut self, knock: &Knock, detail: Detail, memory: Option<&[u8]>) -> Option<String> {
        let answers = self.0.each_mut().map(|(started, store)| {
            store::call(store, CPU, |store| started.call_judge(store, knock, detail, memory))
        });
        agreed(answers, &format!("{knock:02x?} {memory:02x?}"))
    }

    /// What both ways make of a parrot's answer to `judge` that begins so many bytes behind 8192, where `bytes` are.
    ///
    /// # Panics
    /// If that is different.
    pub fn answer(&mut self, place: u16, bytes: &[u8]) -> Option<String> {
        let knock = Knock {
            time: Timestamp(1),
            source: [192, 0, 2, 1].into(),
            source_port: place,
            destination: [192, 0, 2, 2].into(),
            destination_port: 7,
            transport: Transport::Udp,
            tcp_flags: TcpFlags(0),
            hop_limit: 64,
            packet_length: 28,
            tcp_header: None,
            interface: "eth0".into(),
            interface_index: 2,
            link: 0,
            direction: Direction::Incoming,
            sighting: None,
            payload: bytes.into(),
        };
        self.judge(&knock, Detail::payload(bytes.len()), None)
    }
}

/// Whether an answer was refused since it is too long, by wasmtime's own message or by ours.
fn is_too_long(error: &wasmtime::Error) -> bool {
    let chain = format!("{error:#}");
    chain.contains("fuel allocated for hostcalls") || chain.contains(&too_long_answer().to_string())
}

/// What both ways said, which is the same; none if both refused it.
fn agreed<T: fmt::Debug>(answers: [wasmtime::Result<T>; 2], question: &str) -> Option<String> {
    let [direct, component] = answers.map(|answer| answer.map(|answer| format!("{answer:?}")));
    match (direct, component) {
        (Ok(direct), Ok(component)) => {
            let differ = direct.bytes().zip(component.bytes()).position(|(a, b)| a != b);
            let near = |text: &str| text[differ.unwrap_or_default()..].chars().take(100).collect::<String>();
            assert!(
                direct == component,
                "{question}\n{differ:?}\ndirectly: {}\nas a component: {}",
                near(&direct),
                near(&component)
            );
            Some(direct)
        }
        (Err(_), Err(_)) => None,
        // One bounds the guest's bytes, the other what the host makes of them, so many small parts are too many for one of them alone.
        (Ok(_), Err(error)) | (Err(error), Ok(_)) if is_too_long(&error) => None,
        (direct, component) => panic!("{question}\ndirectly: {direct:?}\nas a component: {component:?}"),
    }
}
