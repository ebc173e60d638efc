use proptest::prelude::*;

use super::*;

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first bytes are these, and all others zero.
fn check(answer: &LinkAnswer, size: usize, expected: &[&str]) {
    let bytes = answer.encode();
    let expected = expected.concat();
    let rest = "0".repeat(size * 2 - expected.len());
    assert_eq!(hexadecimal(&bytes), format!("{expected}{rest}"));
    assert_eq!(LinkAnswer::decode(&bytes).as_ref(), Ok(answer));
}

fn refused(reason: DropReason, words: &str) -> LinkAnswer {
    LinkAnswer::Receipt(Receipt { serial: 7, outcome: Err(OrderError::new(reason, words)) })
}

fn opening(client: &str) -> ListedOpening {
    let remaining = Duration::from_millis(1500);
    let note = OpeningNote::default();
    ListedOpening { door: DoorId(0x0102_0304), client: client.parse().unwrap(), remaining, note }
}

#[test]
fn every_field_has_its_place() {
    let done = LinkAnswer::Receipt(Receipt { serial: 0x0102_0304_0506_0708, outcome: Ok(()) });
    check(&done, ANSWER_SIZE, &["0200000000000000", "0807060504030201"]);
    let at = DropReason::ALL.iter().position(|reason| *reason == DropReason::LinkFull).unwrap() + 1;
    check(
        &refused(DropReason::LinkFull, "ab"),
        ANSWER_SIZE,
        &["02", &format!("{at:02x}"), "0200", "00000000", "0700000000000000", "6162"],
    );
    let ticket = 7;
    for (posture, code) in [
        (Posture::Unguarded, "01"),
        (Posture::Owned, "02"),
        (Posture::Plain(Unprotected::Kernel), "03"),
        (Posture::Plain(Unprotected::Found), "04"),
    ] {
        let answer = LinkAnswer::InPlace { ticket, posture };
        check(&answer, ANSWER_SIZE, &["03", code, "000000000000", "0700000000000000"]);
    }
    let mistake = LinkAnswer::Mistake { ticket, door: DoorId(9), text: "ab".to_owned() };
    check(&mistake, LARGEST_ANSWER, &["04000200", "09000000", "0700000000000000", "6162"]);
    for (why, code) in
        [(WhyNotInPlace::Mistakes, "01"), (WhyNotInPlace::Taken, "02"), (WhyNotInPlace::Failed, "03")]
    {
        let answer = LinkAnswer::NotInPlace { ticket, why, text: "ab".to_owned() };
        check(&answer, LARGEST_ANSWER, &["05", code, "0200", "00000000", "0700000000000000", "6162"]);
    }
    let openings = vec![opening("fe80::7%3"), opening("192.0.2.0/24")];
    check(
        &LinkAnswer::Openings { ticket, openings },
        LARGEST_ANSWER,
        &[
            "06000200",
            "00000000",
            "0700000000000000",
            "0403020103000000dc05000000000000fe80000000000000000000000000000706800000000000",
            "00",
            "0403020100000000dc05000000000000c00002000000000000000000000000000418000000000000",
        ],
    );
    let doors = vec![DoorId(1), DoorId(2)];
    check(
        &LinkAnswer::LivedOn { ticket: 0, doors },
        LARGEST_ANSWER,
        &["07000200", "00000000", "0000000000000000", "01000000", "02000000"],
    );
    check(
        &LinkAnswer::Listed { ticket, outcome: Ok(()) },
        ANSWER_SIZE,
        &["08000000", "00000000", "0700000000000000"],
    );
    check(
        &LinkAnswer::Listed { ticket, outcome: Err("ab".to_owned()) },
        ANSWER_SIZE,
        &["08010200", "00000000", "0700000000000000", "6162"],
    );
    check(
        &LinkAnswer::Probed { ticket, outcome: Ok(()) },
        ANSWER_SIZE,
        &["09000000", "00000000", "0700000000000000"],
    );
    check(
        &LinkAnswer::Probed { ticket, outcome: Err("ab".to_owned()) },
        ANSWER_SIZE,
        &["09010200", "00000000", "0700000000000000", "6162"],
    );
    check(
        &LinkAnswer::CameIn { door: DoorId(0x0102_0304), client: "fe80::7%3".parse().unwrap() },
        ANSWER_SIZE,
        &[
            "0a000000",
            "04030201",
            "0000000000000000",
            "0000000003000000",
            "0000000000000000fe80000000000000000000000000000706800000000000",
        ],
    );
    check(
        &LinkAnswer::Counted { ticket, packets: Some(0x0102_0304_0506_0708) },
        ANSWER_SIZE,
        &["0b000000", "00000000", "0700000000000000", "0807060504030201"],
    );
    check(
        &LinkAnswer::Counted { ticket, packets: None },
        ANSWER_SIZE,
        &["0b010000", "00000000", "0700000000000000"],
    );
    let hello = LinkAnswer::Hello(Hello::of_this_process().unwrap());
    assert_eq!(LinkAnswer::decode(&hello.encode()), Ok(hello));
}

#[test]
fn every_reason_crosses() {
    for reason in DropReason::ALL {
        let answer = refused(reason, "why");
        assert_eq!(LinkAnswer::decode(&answer.encode()), Ok(answer));
    }
}

#[test]
fn a_text_is_cut_between_characters() {
    // 239 bytes, and a character of two.
    let long = format!("{}ä", "x".repeat(MOST_TEXT - 1));
    let expected = refused(DropReason::DoorFailed, &"x".repeat(MOST_TEXT - 1));
    assert_eq!(LinkAnswer::decode(&refused(DropReason::DoorFailed, &long).encode()), Ok(expected));
}

#[test]
fn a_piece_is_full_with_the_most_entries() {
    let doors: Vec<_> = (1..).map(DoorId).take(MOST_DOORS).collect();
    let answer = LinkAnswer::LivedOn { ticket: 1, doors };
    assert_eq!(LinkAnswer::decode(&answer.encode()), Ok(answer));
}

#[test]
fn a_listing_goes_in_pieces_whatever_is_noted() {
    for length in [0, 29, postern_core::MOST_NOTE] {
        let mut openings = vec![opening("192.0.2.7"); 1000];
        // Not all the same.
        for (n, opening) in openings.iter_mut().enumerate() {
            let bytes = vec![7; if n % 3 == 0 { length } else { 0 }];
            opening.note = OpeningNote::from_bytes(&bytes).unwrap();
        }
        let mut read = Vec::new();
        let mut count = 0;
        for piece in openings_in_pieces(&openings) {
            let answer = LinkAnswer::Openings { ticket: 1, openings: piece.to_vec() };
            let Ok(LinkAnswer::Openings { openings, .. }) = LinkAnswer::decode(&answer.encode()) else {
                panic!("another answer");
            };
            read.extend(openings);
            count += 1;
        }
        assert_eq!(read, openings, "{length}");
        let bytes: usize = openings.iter().map(|opening| OPENING + opening.note.as_bytes().len()).sum();
        assert!(count <= bytes.div_ceil(LARGEST_ANSWER - AT_REST - OPENING - length), "{count} pieces");
    }
    assert_eq!(openings_in_pieces(&[]).count(), 0);
}

#[test]
fn what_is_odd_is_refused_by_name() {
    let check = |answer: &LinkAnswer, at: usize, byte: u8, expected: Malformed| {
        let mut bytes = answer.encode();
        bytes[at] = byte;
        assert_eq!(LinkAnswer::decode(&bytes), Err(expected), "{at}: {byte}");
    };
    let receipt = refused(DropReason::LinkFull, "ab");
    check(&receipt, 0, 0, Malformed::Kind(0));
    check(&receipt, 0, 4, Malformed::Size(ANSWER_SIZE));
    check(&receipt, 1, 0, Malformed::Unused);
    check(&receipt, 1, 255, Malformed::Outcome(255));
    check(&receipt, 2, 241, Malformed::Text);
    check(&receipt, 16, 0xff, Malformed::Text);
    check(&receipt, 4, 1, Malformed::Unused);
    check(&LinkAnswer::InPlace { ticket: 1, posture: Posture::Owned }, 1, 5, Malformed::Outcome(5));
    check(&LinkAnswer::Listed { ticket: 1, outcome: Ok(()) }, 1, 2, Malformed::Outcome(2));
    let counted = LinkAnswer::Counted { ticket: 1, packets: Some(7) };
    check(&counted, 1, 2, Malformed::Outcome(2));
    check(&counted, 1, 1, Malformed::Unused);
    check(&counted, 24, 1, Malformed::Unused);
    let openings = LinkAnswer::Openings { ticket: 1, openings: vec![opening("192.0.2.7")] };
    check(&openings, 2, 103, Malformed::Entries(103));
    check(&openings, 2, 2, Malformed::Time(0));
    check(&openings, 16 + 32, 5, Malformed::Family(5));
    check(&openings, 16 + 33, 33, Malformed::Prefix(33));
    check(&openings, 16 + 34, 254, Malformed::Size(254));
    check(&openings, 16 + 35, 1, Malformed::Unused);
    check(&openings, 16 + 4, 1, Malformed::Link);
    for length in [0, 1, ANSWER_SIZE - 1, ANSWER_SIZE + 1, LARGEST_ANSWER + 1] {
        assert_eq!(LinkAnswer::decode(&vec![0; length]), Err(Malformed::Size(length)));
    }
}

proptest! {
    /// Random bytes are refused or mean exactly one thing.
    #[test]
    fn no_bytes_are_misread(
        kind in 0..12_u8,
        start in proptest::collection::vec(any::<u8>(), 80),
        is_large: bool,
    ) {
        let mut bytes = start;
        bytes.resize(if is_large { LARGEST_ANSWER } else { ANSWER_SIZE }, 0);
        bytes[0] = kind;
        if let Ok(answer) = LinkAnswer::decode(&bytes) {
            prop_assert_eq!(answer.encode(), bytes);
        }
    }

    /// The same, close to what is right.
    #[test]
    fn no_byte_that_changed_is_misread(at in 0..120_usize, byte: u8) {
        let note = OpeningNote::from_bytes(&[7; 9]).unwrap();
        let noted = ListedOpening { note, ..opening("192.0.2.7") };
        let mut bytes = LinkAnswer::Openings { ticket: 1, openings: vec![noted, opening("2001:db8::/64")] }.encode();
        bytes[at] = byte;
        if let Ok(answer) = LinkAnswer::decode(&bytes) {
            prop_assert_eq!(answer.encode(), bytes);
        }
    }
}
