//! Captures that somebody has made to do harm, or that were damaged: each ends with a message, and what is before the damage counts.

use super::*;

/// Replays such a file.
fn of(contents: &[u8]) -> Replayed {
    let replayed = Place::new(CONFIG, SSH).write("a.pcap", contents).replay(&["--all", "--local", SERVER]);
    assert!(!replayed.err().contains("panic"), "{}", replayed.err());
    replayed
}

#[test]
fn a_file_that_was_cut_off_is_told_as_far_as_it_goes() {
    let whole = knocks().into_bytes();
    for length in [25, 24 + 57, 24 + 58 + 3, whole.len() - 1] {
        let replayed = of(&whole[..length]);
        let err = replayed.code(3).err();
        let read = replayed.out().lines().filter(|line| line.contains(" #")).count();
        assert!(err.contains(&format!("a.pcap cannot be read beyond its packet {read}; ")), "{err}");
        assert_eq!(replayed.out().contains("\n  ssh is open for 192.0.2.7 for 10s\n"), read == 5, "{read}");
    }
}

#[test]
fn garbage_is_refused() {
    for garbage in [&[0; 64][..], b"", b"#!/bin/sh\n", &[0xff; 4096]] {
        let err = of(garbage).code(3).err();
        assert!(
            err.starts_with("posternd: a.pcap cannot be read; it must be a pcap or pcapng file"),
            "{err}"
        );
    }
    let err = Place::new(CONFIG, SSH).replay(&[]).code(3).err();
    assert!(err.contains("a.pcap: No such file or directory"), "{err}");
    let err = Place::new(CONFIG, SSH).write("a.pcap/b", b"").replay(&[]).code(3).err();
    assert!(err.contains("a.pcap cannot be read"), "{err}");
}

#[test]
fn a_packet_that_says_it_is_larger_than_memory_ends_it() {
    let lie = [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let replayed = of(&knocks().raw(&lie).into_bytes());
    assert!(replayed.code(3).err().contains("beyond its packet 6"), "{}", replayed.err());
    assert!(replayed.out().contains("6 packets from"), "{}", replayed.out());
}

#[test]
fn time_may_jump_by_years_and_go_back() {
    let years = 60 * 365 * 86_400_000;
    let capture = Pcap::ethernet()
        .frame(at(0), &udp_to(CLIENT, 7000))
        .frame(at(1), &syn_to(CLIENT, 7001))
        .frame(at(years), &udp_to(CLIENT, 7000))
        .frame(5, &syn_to(CLIENT, 7001))
        .frame(at(1000), &udp_to(CLIENT, 7000));
    let out = of(&capture.into_bytes()).code(0).out();
    assert!(out.contains("+10.001000 ssh is closed for 192.0.2.7: its time is over"), "{out}");
    // The clock was set back between them; for the doors no time went back.
    assert!(out.contains("\n+1892160000.000000 #4 "), "{out}");
    assert!(out.contains("\n  ssh is open for 192.0.2.7 for 10s\n"), "{out}");
}

#[test]
fn very_many_sources_and_random_bytes_do_no_harm() {
    let mut random = postern_tests::Random::new(7);
    let mut capture = Pcap::ethernet();
    for n in 0..20_000_u64 {
        let [a, b, c, _] = u32::try_from(n).unwrap().to_be_bytes();
        let mut frame = udp_to(&format!("10.{a}.{b}.{}", n % 251), 7000 + u16::from(c % 2));
        if n % 3 == 0 {
            let place = random.below(frame.len());
            frame[place] = random.byte();
        }
        capture = capture.frame(at(n / 10), &frame);
    }
    let place = Place::new(CONFIG, SSH).capture(capture);
    let replayed = place.replay(&["--html", "a.html"]);
    assert!(replayed.code(0).out().starts_with("20000 packets from "), "{}", replayed.out());
    let page = fs::metadata(place.path("a.html")).unwrap().len();
    assert!(page < 4 << 20, "{page} bytes");
}
