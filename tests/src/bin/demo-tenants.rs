//! A guided tour of two teams on one machine: what `make demo-tenants` runs. As `demo`, it checks every sentence that it prints.

#![allow(clippy::print_stdout, reason = "a tour talks to people")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use postern_tests::guest::Guest;
use postern_tests::tour::{Tour, play, time};
use postern_tests::{CLIENT4, CLIENT6, Daemon, Entry, Lab, SERVER4, STRANGER4, Setup, frame};

const CONFIG: &str = "interfaces = [\"eth0\"]
[doors.shop]
guard = \"tcp/443\"
for   = \"4s\"
[doors.wiki]
guard = \"tcp/80\"
for   = \"4s\"

[tenants.shop]
rules = \"shop\"
grant = { watch = [\"udp/7000-7999\"], interfaces = [\"eth0\"], doors = [\"shop\"] }

[tenants.wiki]
rules = \"wiki\"
grant  = { watch = [\"udp/8000-8999\"], interfaces = [\"eth0\"], doors = [\"wiki\"] }
limits = { share = \"5%\" }
";
const SHOP: &str = "7000/udp 7100/udp 7200/udp";
const WIKI: &str = "8000/udp 8100/udp 8200/udp";
/// How long we listen before we call it silence.
const A_WHILE: Duration = Duration::from_millis(300);
/// How late a busy machine may be.
const LATENESS: Duration = Duration::from_secs(2);
/// Knocks a second at the rule that never ends.
const FLOOD: u32 = 3000;

fn main() -> std::process::ExitCode {
    play(give)
}

fn rule(door: &str, knock: &str) -> String {
    let steps: Vec<_> = knock.split(' ').map(|step| format!("\"{step}\"")).collect();
    format!("module = \"sequence\"\ndoor   = \"{door}\"\n[settings]\nsequence = [{}]\n", steps.join(", "))
}

fn give(lab: &Lab, program: PathBuf) -> Tour {
    let mut tour = Tour::default();
    println!("\nTwo teams, shop and wiki, on one pretend machine. Your own network is not touched.");
    let _services = (lab.tcp_service(443), lab.tcp_service(80));

    tour.step("The administrator gives each team a folder, a door, and ports to watch, in postern.toml:");
    tour.quote(CONFIG);
    let daemon = Setup::new(lab, program)
        .config(CONFIG)
        .file("shop/knock.toml", rule("shop", SHOP))
        .file("wiki/knock.toml", rule("wiki", WIKI))
        .start();

    tour.step("Each team's clients knock, and each gets through its own door:");
    get_in(&mut tour, lab, &daemon, CLIENT4, SHOP, "shop", 443);
    get_in(&mut tour, lab, &daemon, CLIENT6, WIKI, "wiki", 80);
    assert!(lab.tcp(CLIENT4, 80, A_WHILE).is_silence(), "shop's client is in at wiki's");
    tour.show(format!("{CLIENT4}, who is in at the shop's door, hears nothing at wiki's"));

    tour.step("wiki would like to open the shop's door, and to see other ports:");
    refused(&mut tour, &daemon, &rule("shop", WIKI));
    refused(&mut tour, &daemon, &rule("wiki", "22/udp 23/udp"));

    tour.step("wiki saves garbage, and in the same second the shop changes its knock:");
    daemon.write("wiki/knock.toml", "module = sequence");
    let mark = daemon.log().mark();
    let changed = "7500/udp 7600/udp";
    daemon.write("shop/knock.toml", rule("shop", changed));
    daemon.wait_since(mark, "reload", |_| true);
    get_in(&mut tour, lab, &daemon, STRANGER4, changed, "shop", 443);
    lab.knock(STRANGER4, WIKI);
    daemon.wait_for("open", |entry| is(entry, "wiki", STRANGER4));
    tour.show("and wiki's rule from before still opens for who knows it");

    never_ends(&mut tour, lab, &daemon);

    tour.step("wiki tries a rule on live packets, without opening anything: trial = true");
    let mark = daemon.log().mark();
    daemon.write("wiki/knock.toml", format!("trial  = true\n{}", rule("wiki", WIKI)));
    daemon.wait_since(mark, "reload", |_| true);
    let mark = daemon.log().mark();
    lab.knock(CLIENT4, WIKI);
    let would = daemon.wait_since(mark, "would-open", |entry| is(entry, "wiki", CLIENT4));
    tour.show(format!("posternd: {}", would.text("message")));
    assert!(lab.tcp(CLIENT4, 80, A_WHILE).is_silence(), "a rule on trial has opened something");
    tour.show(format!("tcp/80 says nothing to {CLIENT4}"));
    daemon.stop();
    tour
}

/// A rule that loops on every packet, of thousands a second, beside a client of the other team.
fn never_ends(tour: &mut Tour, lab: &Lab, daemon: &Daemon<'_>) {
    tour.step(format!("wiki runs a module that never ends, and gets {FLOOD} packets a second:"));
    let judge = "(loop $forever (br $forever)) (i32.const 96)";
    let mark = daemon.log().mark();
    daemon.write("wiki/bad.wasm", Guest { port: 8000, judge, ..Guest::default() }.module());
    daemon.write("wiki/knock.toml", "module = \"./bad.wasm\"\ndoor = \"wiki\"\n");
    daemon.wait_since(mark, "reload", |_| true);
    let mut wire = lab.injector();
    let begin = Instant::now();
    let mut sent = 0;
    let mut flood = |until: Duration| {
        while begin.elapsed() < until {
            let due = u32::try_from(begin.elapsed().as_millis()).unwrap_or(u32::MAX) * FLOOD / 1000;
            while sent < due {
                wire.send(&frame::udp((STRANGER4, 40_000).into(), (SERVER4, 8000).into(), b""));
                sent += 1;
            }
            std::thread::yield_now();
        }
    };
    flood(Duration::from_millis(500));
    let fault = daemon.wait_since(mark, "fault", |entry| entry.text("tenant") == "wiki");
    tour.show(format!("posternd: {}", fault.text("message")));
    let mark = daemon.log().mark();
    let start = Instant::now();
    let changed = "7500/udp 7600/udp";
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            lab.knock(CLIENT6, changed);
            daemon.wait_since(mark, "open", |entry| is(entry, "shop", CLIENT6));
            start.elapsed()
        });
        flood(Duration::from_millis(1500));
        let took = client.join().expect("the client gets in");
        assert!(took < LATENESS, "{took:?}");
        tour.show(format!("meanwhile the shop's client knocks, and is in after {}", time(took)));
    });
}

fn is(entry: &Entry, tenant: &str, client: IpAddr) -> bool {
    entry.text("tenant") == tenant && entry.text("src") == client.to_string()
}

fn get_in(
    tour: &mut Tour,
    lab: &Lab,
    daemon: &Daemon<'_>,
    client: IpAddr,
    knock: &str,
    tenant: &str,
    port: u16,
) {
    let mark = daemon.log().mark();
    lab.knock(client, knock);
    daemon.wait_since(mark, "open", |entry| is(entry, tenant, client));
    lab.tcp_soon(client, port, LATENESS);
    tour.show(format!("{client} knocks {knock}: in at tcp/{port}"));
}

fn refused(tour: &mut Tour, daemon: &Daemon<'_>, text: &str) {
    let mark = daemon.log().mark();
    daemon.write("wiki/knock.toml", text);
    let refused = daemon.wait_since(mark, "tenant-refused", |entry| entry.text("tenant") == "wiki");
    daemon.wait_since(mark, "reload", |_| true);
    let folder = format!("{}/", daemon.dir().display());
    tour.show(refused.text("detail").replace(&folder, ""));
}
