use super::*;

/// What the signatures below are of. They, and the keys, were made with minisign 0.11:
///
/// ```sh
/// minisign -G -W -p a.pub -s a.sec
/// minisign -S -s a.sec -m m.wasm -t 'made for a test'
/// minisign -S -l -s a.sec -m m.wasm -t 'made as before 0.10'
/// ```
const BYTES: &[u8] = b"\0asm\x01\0\0\0 not a whole module";
const A: &str = "RWQduMB8KoiXconVcktOO0hqlj/IUQlNTgOWDuiDhfzpkMqhsiwZ9K/5";
const B: &str = "RWSO5MkD5VB8B++b2s3+TmTBObSWP2gP3RsbzKNLDAVgbNQ1eW9w4EKH";
const BY_A: &str = "untrusted comment: signature from minisign secret key
RUQduMB8KoiXciTz9bDj/cZzc9UGN3ec3gOM7uEZdyh2PGyvsm6XLTHlaACpQEVHfup6C+21ruYr2lm5eB+d3roOsF4XjkYiCQM=
trusted comment: made for a test
YRNPkqEn2rQmdickgIFQDt7B0/ord3v1AYk8R082pdsM+qejSGQcRhEs5b4PQQ+1jhY07V+04b+MMw4TvakHDg==
";
const BY_A_BEFORE: &str = "untrusted comment: signature from minisign secret key
RWQduMB8KoiXcgmM0Uek//uVKVJ/TkfM2+kekgUexKCZyBqWehY8u9BRn3gyOiy8XJQeefPF49QRvGNNUAlojIDSOVuZpyVHDgo=
trusted comment: made as before 0.10
i+DNsY8mbgBfCeMLWy04nCvFemZynMd+0yBW7SG5lTLBXTHyo2ejWY2+ppOEFcxDKOdF+KcOWye/WzV5Q0J7Aw==
";
const BY_B: &str = "untrusted comment: signature from minisign secret key
RUSO5MkD5VB8Bz0O12RDUo8HVCLFvNhyvXYURHVkJEx5qMLPyl4AkjaCt5YKhImpRyyuN+YEBu9SJ97MqeG+F3CP7vnW3YgGZgk=
trusted comment: timestamp:1795775328	file:m.wasm	hashed
FzxmOGUvx+kONjvlQgBJIvOYNf2XZnI+KPsdzcwsimCp0KU1aVPAyBBKu2PzA2eQB8jZTxlYAf3b7i6qGOA0Dw==
";
/// The numbers that minisign shows of them.
const ID_OF_A: &str = "7297882A7CC0B81D";
const ID_OF_B: &str = "77C50E503C9E48E";

fn keys(texts: &[&str]) -> Vec<TrustedKey> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Whose signature it is and what that says, or why it does not count.
#[track_caller]
fn check(bytes: &[u8], signature: &str, trusted: &[&str], expected: Result<(&str, &str), &str>) {
    let keys = keys(trusted);
    let found = verify(bytes, signature.as_bytes(), &keys).map_err(|bad| bad.to_string());
    let found = found.map(|GoodSignature { key, comment }| (key.text().to_owned(), comment));
    let expected = expected.map(|(key, comment)| (key.to_owned(), comment.to_owned()));
    assert_eq!(found, expected.map_err(str::to_owned));
}

#[test]
fn keys_are_known_by_the_numbers_that_minisign_shows() {
    let [a, b] = &keys(&[A, B])[..] else { panic!() };
    assert_eq!((&*a.id.to_string(), &*b.id.to_string()), (ID_OF_A, ID_OF_B));
    assert_eq!((a.text(), b.text()), (A, B));
}

#[test]
fn what_is_no_key_is_said_without_repeating_it() {
    let too_long = format!("{A}AAAA");
    let secret = "RWRTY0IyEf+yYa5eAX38PgFZrIp9tOLGDYMVA5o4pbhPnXdYQ3YVQwAAAAAAAAABAAAAAAAAAA==";
    let other_algorithm = format!("RX{}", &A[2..]);
    for text in ["", "RW", &A[1..], &A[..55], &too_long, secret, &other_algorithm, &A.replace('/', "-")] {
        let no_key = text.parse::<TrustedKey>().unwrap_err().to_string();
        assert!(text.is_empty() || text.len() < 10 || !no_key.contains(text), "{no_key}");
        assert!(no_key.contains("`minisign -G`"), "{no_key}");
    }
}

#[test]
fn both_kinds_of_signature_count_and_say_what_was_signed_beside_the_bytes() {
    check(BYTES, BY_A, &[A], Ok((A, "made for a test")));
    check(BYTES, BY_A_BEFORE, &[A], Ok((A, "made as before 0.10")));
    check(BYTES, BY_A, &[B, A], Ok((A, "made for a test")));
    check(BYTES, BY_B, &[B, A], Ok((B, "timestamp:1795775328\tfile:m.wasm\thashed")));
}

#[test]
fn a_signature_by_another_key_does_not_count() {
    let stranger = format!("was made with the key {ID_OF_B}, which is not trusted");
    check(BYTES, BY_B, &[A], Err(&stranger));
    check(BYTES, BY_B, &[], Err(&stranger));
}

#[test]
fn a_key_of_the_same_number_is_another_key() {
    // The number of B, and what is A's.
    let posing = format!("{}{}", &B[..14], &A[14..]);
    let wrong = format!("is not that of this file by the key {ID_OF_B}: one of them was changed");
    check(BYTES, BY_B, &[&posing], Err(&wrong));
    // Which one it is by is found out among all that have it.
    check(BYTES, BY_B, &[&posing, B], Ok((B, "timestamp:1795775328\tfile:m.wasm\thashed")));
}

#[test]
fn what_was_changed_after_signing_does_not_count() {
    let wrong = format!("is not that of this file by the key {ID_OF_A}: one of them was changed");
    let mut changed = BYTES.to_vec();
    changed[20] ^= 1;
    for signature in [BY_A, BY_A_BEFORE] {
        check(&changed, signature, &[A], Err(&wrong));
        check(&BYTES[1..], signature, &[A], Err(&wrong));
        check(b"", signature, &[A], Err(&wrong));
        check(BYTES, &signature.replace("comment: made", "comment: mode"), &[A], Err(&wrong));
    }
    // Of one kind, passed off as of the other.
    check(BYTES, &BY_A.replace("RUQd", "RWQd"), &[A], Err(&wrong));
    check(BYTES, &BY_A_BEFORE.replace("RWQd", "RUQd"), &[A], Err(&wrong));
    // What is not signed is for people.
    check(
        BYTES,
        &BY_A.replace("untrusted comment: s", "untrusted comment: S"),
        &[A],
        Ok((A, "made for a test")),
    );
}

#[test]
fn what_is_no_signature_does_not_count() {
    let none = Err("is no signature of minisign");
    let cut = &BY_A[..BY_A.len() - 10];
    let lines: Vec<_> = BY_A.lines().collect();
    for signature in
        ["", "\n\n\n\n", A, cut, &lines[..3].join("\n"), &lines[1..].join("\n"), &BY_A[1..][..60]]
    {
        check(BYTES, signature, &[A], none);
    }
    assert_eq!(verify(BYTES, b"\xff\xfe", &keys(&[A])), Err(BadSignature::Malformed));
}

/// Whoever may write a signature's file may write anything there.
#[test]
fn no_change_of_a_signature_is_accepted_or_panics() {
    let trusted = keys(&[A]);
    let unsigned = BY_A.find('\n').unwrap();
    for at in 0..BY_A.len() {
        assert!(at + 1 == BY_A.len() || verify(BYTES, &BY_A.as_bytes()[..at], &trusted).is_err(), "{at}");
        for byte in [0, b'\n', b'A', b'=', b' ', 0x7f, 0xff] {
            let mut changed = BY_A.as_bytes().to_vec();
            changed[at] = byte;
            let is_signed = at > unsigned && changed[at] != BY_A.as_bytes()[at] && at + 1 != BY_A.len();
            let is_good = verify(BYTES, &changed, &trusted).is_ok();
            assert!(!(is_good && is_signed), "{at} {byte}");
        }
    }
}

#[test]
fn a_key_is_read_as_it_is_written_to_another_process() {
    let [key] = &keys(&[A])[..] else { panic!() };
    let written = serde_json::to_string(key).unwrap();
    assert_eq!(serde_json::from_str::<TrustedKey>(&written).unwrap(), *key);
    assert!(serde_json::from_str::<TrustedKey>("\"RW\"").is_err());
}

#[test]
fn a_signature_is_beside_what_is_signed() {
    assert_eq!(signature_file(Path::new("/a/b.wasm")), Path::new("/a/b.wasm.minisig"));
    assert_eq!(signature_file(Path::new("b")), Path::new("b.minisig"));
}
