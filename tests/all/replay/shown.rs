//! The page that shows a replay.

use super::*;

fn page(place: &Place, options: &[&str]) -> String {
    let replayed = place.replay(&[&["--html", "a.html"], options].concat());
    assert_eq!(
        replayed.code(0).out().lines().next(),
        Some(
            "6 packets from 2026-11-18T11:06:40.000000Z on, in 60.0 s; rules asked for 5, and opened a door 1 time"
        )
    );
    fs::read_to_string(place.path("a.html")).unwrap()
}

/// What tags stand around.
fn text(page: &str) -> String {
    let parts = page.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    parts.map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_client_has_a_lane_with_its_packets_stages_openings_and_why_not() {
    let page = page(&Place::new(CONFIG, SSH).capture(knocks()), &[]);
    assert_eq!(page.matches("<details class=\"lane\"").count(), 2);
    let text = text(&page);
    for part in [
        "ssh: 192.0.2.7 is at stage 1",
        "ssh is open for 192.0.2.7 for 10s",
        "ssh is open for 10.0 s",
        "ssh is closed for 192.0.2.7: its time is over",
        "7001/tcp\nsyn",
        "every destination counts as this machine",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let bars = page.matches("<div class=\"bar\"").count();
    assert_eq!(bars, 1, "{page}");
}

#[test]
fn it_has_no_script_and_loads_nothing() {
    let page = page(&Place::new(CONFIG, SSH).capture(knocks()), &["--all"]);
    for part in ["<script", "javascript:", "http:", "https:", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(part), "{part}");
    }
}

#[test]
fn names_are_text_in_it() {
    let name = "<img src=x onerror=alert(1)>&'\".pcap";
    let place = Place::new(CONFIG, SSH).write(name, &knocks().into_bytes());
    place.run(&["--config", "postern.toml", name, "--html", "a.html"]).code(0);
    let page = fs::read_to_string(place.path("a.html")).unwrap();
    assert!(!page.contains("<img"), "{page}");
    assert!(page.contains("Replay of &lt;img src=x onerror=alert(1)&gt;&amp;&#39;&quot;.pcap"), "{page}");
}

#[test]
fn what_is_open_at_the_end_stays_open_in_it() {
    let place = Place::new(&CONFIG.replace("10s", "1h"), SSH).capture(knocks());
    let page = page(&place, &[]);
    assert!(text(&page).contains("ssh is open until after the capture ends"), "{page}");
}

#[test]
fn a_page_that_cannot_be_written_is_said() {
    let place = Place::new(CONFIG, SSH).capture(knocks());
    let err = place.replay(&["--html", "nowhere/a.html"]).code(3).err();
    assert!(
        err.ends_with("posternd: nowhere/a.html cannot be written: No such file or directory (os error 2)\n"),
        "{err}"
    );
}
