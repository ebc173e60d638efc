//! Many clients half way through their knocks: what a packet costs among them, and what each costs in memory.

use crate::blast::Blast;
use crate::flood::cost;
use crate::report::Report;
use crate::subject::{self, rule};
use crate::{KNOCK, lab};

const RATE: f64 = 300_000.0;
const CLIENTS: [u32; 3] = [1, 100_000, 1_000_000];
/// knockd walks a list for each packet.
const PEERS: u32 = 10_000;

pub(crate) fn measure(report: &mut Report) {
    let mut alone = f64::NAN;
    for clients in CLIENTS {
        let lab = lab();
        let rules = [("probe".to_owned(), rule(&KNOCK, 1_100_000))];
        let subject = subject::postern(&lab, "", &rules);
        let blast =
            |count, skip| Blast { count, rate: Some(RATE), ports: vec![KNOCK[0]], sources: clients, skip };
        let before = subject.process.resident();
        cost(&lab, &subject.process, &blast(clients as usize, 0));
        let after = subject.process.resident();
        if clients > 1 {
            let each = after.saturating_sub(before) as f64 / f64::from(clients);
            report.add("posternd", &format!("memory a client, {clients} remembered"), each, "bytes", "");
        }
        // Everybody again: the knock is wrong now, the client starts over, and the next time it is remembered again.
        let (each, rate) = cost(&lab, &subject.process, &blast(1_000_000, 0));
        let remark = format!("at {rate:.0} a second, {} lost", subject.lost());
        report.add("posternd", &format!("CPU a packet, {clients} half-finished knocks"), each, "ns", &remark);
        if clients == 1 {
            alone = each;
        } else {
            report.compare(&format!("{clients} clients"), each, "one client", alone);
        }
    }
    for clients in [1, PEERS] {
        let lab = lab();
        let Some(subject) = subject::knockd(&lab) else { return };
        let blast = Blast {
            count: 4 * PEERS as usize,
            rate: Some(RATE),
            ports: vec![KNOCK[0]],
            sources: clients,
            skip: 0,
        };
        cost(&lab, &subject.process, &Blast { count: clients as usize, ..blast.clone() });
        let (each, _) = cost(&lab, &subject.process, &blast);
        report.add("knockd", &format!("CPU a packet, {clients} half-finished knocks"), each, "ns", "");
    }
}
