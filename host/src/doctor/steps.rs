//! Steps: ports of the stock rule's sequences at which a program waits, so that a knock is answered.

use std::collections::BTreeSet;

use postern_core::{GuardProtocol, ModuleSource, RuleId, Transport};

use super::DoctorSubject;
use super::finding::{Finding, Looked, NotLooked};
use crate::listeners::Listeners;

/// A step of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RuleStep {
    rule: String,
    protocol: GuardProtocol,
    port: u16,
}

pub(super) fn look(subject: &DoctorSubject<'_>) -> Looked {
    let Some(generation) = subject.generation else {
        return Err(NotLooked::new("the rules cannot be loaded", "mend the mistakes below first"));
    };
    let is_stock = |id: &RuleId| {
        let mut rules = subject.config.rules.iter();
        rules.any(|rule| rule.id == *id && matches!(rule.module, ModuleSource::Stock(_)))
    };
    let stock = generation.rules.iter().enumerate().filter(|(_, rule)| is_stock(&rule.id));
    let steps = stock.flat_map(|(n, rule)| {
        let interest = &generation.dispatch.subscription(n).interest;
        interest.watches.iter().filter(|watch| watch.first_port == watch.last_port).filter_map(|watch| {
            let protocol = match watch.transport {
                Transport::Tcp => GuardProtocol::Tcp,
                Transport::Udp => GuardProtocol::Udp,
                Transport::Icmp | Transport::Icmpv6 => return None,
            };
            Some(RuleStep { rule: rule.id.to_string(), protocol, port: watch.first_port })
        })
    });
    let is_guarded = |protocol, port| subject.guarded().any(|(_, range)| range.contains(protocol, port));
    Ok(judge(&steps.collect(), subject.listeners, is_guarded))
}

fn judge(
    steps: &BTreeSet<RuleStep>,
    listeners: &Listeners,
    is_guarded: impl Fn(GuardProtocol, u16) -> bool,
) -> Vec<Finding> {
    // What is guarded never reaches the program.
    let served = steps.iter().filter(|RuleStep { protocol, port, .. }| {
        listeners.serve_others(*protocol, *port) && !is_guarded(*protocol, *port)
    });
    let finding = |RuleStep { rule, protocol, port }: &RuleStep| {
        Finding::warning(
            format!(
                "{protocol}/{port} is a step of rule {rule}, and a program listens there: it answers a knock, and its own clients knock without knowing"
            ),
            "take a port for the step at which nothing listens",
        )
    };
    served.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::lines;
    use crate::listeners::ListeningSocket;

    #[test]
    fn a_step_that_is_answered_is_said() {
        let (tcp, udp) = (GuardProtocol::Tcp, GuardProtocol::Udp);
        let step = |protocol, port| RuleStep { rule: "ssh".to_owned(), protocol, port };
        let at = |protocol, address: &str, port| ListeningSocket {
            protocol,
            address: address.parse().unwrap(),
            port,
        };
        let listeners = Listeners(vec![
            at(tcp, "0.0.0.0", 8000),
            at(tcp, "::", 9000),
            at(udp, "127.0.0.1", 7000),
            at(udp, "::", 1000),
        ]);
        let steps = [step(udp, 7000), step(tcp, 8000), step(tcp, 9000), step(tcp, 1000)].into();
        let found = judge(&steps, &listeners, |_, port| port == 9000);
        assert_eq!(
            lines(&found),
            "warning: tcp/8000 is a step of rule ssh, and a program listens there: it answers a knock, and its own clients knock \
             without knowing; take a port for the step at which nothing listens\n"
        );
    }
}
