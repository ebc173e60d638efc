//! Whatever a tenant's files and verdicts ask for, no order is for anything that `postern.toml` does not grant: random grants, random rule
//! files, random verdicts, and beside them a reading of the grant that shares no code with the daemon's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use postern_config::{Activity, Config, OwnFiles, Trust};
use postern_core::{
    Act, Action, CloseRequest, DoorId, Engine, Event, Moment, OpenRequest, Receipt, Request, RuleId, TenantId,
};
use posternd::plan::DoorNumbers;
use proptest::prelude::*;

const DOORS: [&str; 3] = ["d0", "d1", "d2"];
const WIDTHS: [&str; 2] = ["ipv4/24", "ipv6/64"];
const LONGEST: u64 = 500;

/// What a table of `postern.toml` or a rule's file says.
#[derive(Clone, Debug)]
struct Said {
    doors: Vec<usize>,
    lasts: Option<u64>,
    widths: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Tenant {
    grant: Said,
    openings: usize,
    rule: Said,
}

#[derive(Clone, Debug)]
struct Verdict {
    tenant: usize,
    closes: bool,
    door: Option<usize>,
    lasts: Option<u64>,
    prefix_length: Option<u8>,
    source: &'static str,
    pause: u64,
}

fn said(doors: std::ops::Range<usize>) -> impl Strategy<Value = Said> {
    let doors = prop::sample::subsequence(vec![0, 1, 2], doors);
    let widths = prop::sample::subsequence(vec![0, 1], 0..3);
    (doors, prop::option::of(1..700u64), widths).prop_map(|(doors, lasts, widths)| Said {
        doors,
        lasts,
        widths,
    })
}

fn tenant() -> impl Strategy<Value = Tenant> {
    (said(0..4), 1..4usize, said(1..4)).prop_map(|(grant, openings, rule)| Tenant { grant, openings, rule })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let sources = ["192.0.2.1", "192.0.2.9", "198.51.100.7", "2001:db8::1", "2001:db8::2", "fe80::1"];
    let door = prop::option::of(0..3usize);
    let lasts = prop::option::of(1..1000u64);
    let prefix_length = prop::option::of(prop::sample::select(vec![0, 8, 24, 32, 64, 128]));
    let source = prop::sample::select(sources.to_vec());
    (0..2usize, prop::bool::weighted(0.2), door, lasts, prefix_length, source, 0..200u64).prop_map(
        |(tenant, closes, door, lasts, prefix_length, source, pause)| Verdict {
            tenant,
            closes,
            door,
            lasts,
            prefix_length,
            source,
            pause,
        },
    )
}

fn quoted(names: &[&str]) -> String {
    format!("[{}]", names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", "))
}

/// The keys that both tables have.
fn keys(said: &Said) -> String {
    let doors: Vec<_> = said.doors.iter().map(|n| DOORS[*n]).collect();
    let widths: Vec<_> = said.widths.iter().map(|n| WIDTHS[*n]).collect();
    let mut text = String::new();
    if !doors.is_empty() {
        writeln!(text, "doors = {}", quoted(&doors)).unwrap();
    }
    if !widths.is_empty() {
        writeln!(text, "prefixes = {}", quoted(&widths)).unwrap();
    }
    if let Some(lasts) = said.lasts {
        writeln!(text, "for = \"{lasts}s\"").unwrap();
    }
    text
}

/// For how long each door stays open by itself, and whether it may be opened for prefixes.
fn doors(lasts: [u64; 3], widened: usize) -> String {
    let mut text = format!("interfaces = [\"lo\"]\n[limits]\nfor = \"{LONGEST}s\"\n");
    for (n, (name, lasts)) in DOORS.iter().zip(lasts).enumerate() {
        writeln!(text, "[doors.{name}]\nguard = \"tcp/{}\"\nfor = \"{lasts}s\"", n + 1).unwrap();
        if n == widened {
            writeln!(text, "prefixes = {}", quoted(&WIDTHS)).unwrap();
        }
    }
    text
}

/// The configuration, of which a rule that asks for too much has no part, and what its doors are called by number.
fn read(text: &str, tenants: &[Tenant; 2]) -> (Config, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let mut text = text.to_owned();
    fs::create_dir(dir.path().join("rules")).unwrap();
    for (n, Tenant { grant, openings, rule }) in tenants.iter().enumerate() {
        write!(
            text,
            "[tenants.t{n}]\nrules = \"t{n}\"\nlimits.openings = {openings}\n[tenants.t{n}.grant]\ninterfaces = [\"any\"]\n{}",
            keys(&Said { lasts: grant.lasts.map(|lasts| lasts.min(LONGEST)), ..grant.clone() })
        )
        .unwrap();
        let folder = dir.path().join(format!("t{n}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("r.toml"), format!("module = \"sequence\"\n{}", keys(rule))).unwrap();
    }
    let file = dir.path().join("postern.toml");
    fs::write(&file, text).unwrap();
    let reading = Config::read(&file, Trust::Anybody, &OwnFiles, &Activity::default());
    assert_eq!(reading.mistakes, []);
    let refused = |n: &usize| reading.mistakes_of_tenants.contains_key(&TenantId::new(&format!("t{n}")));
    let loaded = (0..2).filter(|n| !refused(n)).collect();
    let mut config = reading.config.unwrap();
    config.rules.retain(|rule| !reading.mistakes_of_tenants.contains_key(&rule.id.tenant));
    (config, loaded)
}

/// Whether the file of a tenant's rule asks for nothing that the tenant may not have, of doors that last so long.
fn is_granted(tenant: &Tenant, widened: usize) -> bool {
    let Tenant { grant, rule, .. } = tenant;
    rule.doors.iter().all(|door| grant.doors.contains(door))
        && rule.widths.iter().all(|width| grant.widths.contains(width))
        && (rule.widths.is_empty() || rule.doors.contains(&widened))
        && rule.lasts.is_none_or(|lasts| lasts <= grant.lasts.unwrap_or(LONGEST).min(LONGEST))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_opens_that_is_not_granted(
        lasts in [1..400u64, 1..400u64, 1..400u64],
        widened in 0..3usize,
        tenants in [tenant(), tenant()],
        verdicts in prop::collection::vec(verdict(), 1..40),
    ) {
        let (config, loaded) = read(&doors(lasts, widened), &tenants);
        for (n, tenant) in tenants.iter().enumerate() {
            prop_assert_eq!(loaded.contains(&n), is_granted(tenant, widened), "{:?}", tenant);
        }
        let plan = DoorNumbers::default().plan(&config);
        let door_of: BTreeMap<DoorId, usize> = plan
            .policy
            .doors
            .iter()
            .map(|(id, door)| (*id, DOORS.iter().position(|name| **name == *door.name).unwrap()))
            .collect();
        let mut engine = Engine::new(Arc::clone(&plan.policy));
        let mut now = Moment::default();
        for Verdict { tenant, closes, door, lasts: asked, prefix_length, source, pause } in verdicts {
            now = now.plus(Duration::from_secs(pause));
            // All that is due.
            while engine.next_deadline().is_some_and(|due| due <= now) {
                answer(&mut engine, |engine| engine.handle_deadline(now), now);
            }
            let rule = RuleId { tenant: TenantId::new(&format!("t{tenant}")), name: "r".into() };
            let door = door.map(|n| DOORS[n].into());
            let request = if closes {
                Request::Close(vec![CloseRequest { door, prefix_length }])
            } else {
                let lasts = asked.map(Duration::from_secs);
                Request::Open(vec![OpenRequest { door, prefix_length, lasts, once: None }])
            };
            let (generation, source) = (engine.generation(), source.parse().unwrap());
            let event = Event::Judged { rule: rule.clone(), generation, source, request };
            let orders = answer(&mut engine, |engine| engine.handle(event, now), now);
            let Tenant { grant, openings, rule: file } = &tenants[tenant];
            for (order, by) in orders {
                let (Act::Open(opens_for) | Act::Extend(opens_for)) = order.act else {
                    prop_assert_eq!(by, Some(rule.clone()));
                    continue;
                };
                prop_assert!(loaded.contains(&tenant), "a rule that was refused opened something");
                let door = door_of[&order.door];
                prop_assert!(grant.doors.contains(&door) && file.doors.contains(&door));
                let most = grant.lasts.unwrap_or(lasts[door]).min(LONGEST);
                let most = most.min(file.lasts.unwrap_or(u64::MAX));
                let open = engine.openings().find(|(key, _)| (key.door, key.client) == (order.door, order.client));
                let (_, open) = open.expect("it was opened");
                // The door is open as long as the longest that anybody asked for, and for each as long as it asked itself.
                prop_assert_eq!(opens_for, open.until().since(now));
                let Some(own) = open.part_of(&rule.tenant) else {
                    prop_assert!(closes, "it opened nothing for itself");
                    continue;
                };
                prop_assert!(!closes && own.until.since(now) <= Duration::from_secs(most), "{:?} of {}", own, most);
                let text = order.client.to_string();
                if let Some((_, length)) = text.split_once('/') {
                    let width = if text.contains(':') { format!("ipv6/{length}") } else { format!("ipv4/{length}") };
                    let width = WIDTHS.iter().position(|known| **known == *width);
                    let width = width.expect("no other width was said anywhere");
                    prop_assert!(grant.widths.contains(&width) && file.widths.contains(&width) && door == widened);
                }
            }
            let own = engine.openings().filter(|(_, opening)| opening.part_of(&rule.tenant).is_some());
            prop_assert!(own.count() <= *openings);
        }
    }
}

/// Has every order done at once; gives the orders back.
fn answer(
    engine: &mut Engine,
    first: impl FnOnce(&mut Engine) -> Vec<Action>,
    now: Moment,
) -> Vec<(postern_core::Order, Option<RuleId>)> {
    let mut orders = Vec::new();
    let mut actions = first(engine);
    while !actions.is_empty() {
        let mut next = Vec::new();
        for action in actions {
            if let Action::Order { order, rule, .. } = action {
                next.extend(
                    engine.handle(Event::Answered(Receipt { serial: order.serial, outcome: Ok(()) }), now),
                );
                orders.push((order, rule));
            }
        }
        actions = next;
    }
    orders
}
