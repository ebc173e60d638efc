use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::*;

/// The names within the brackets of a declaration, with whether each may be missing. What is in inner brackets is a type.
fn names(declaration: &str) -> BTreeMap<String, bool> {
    let mut depth = 0;
    let mut fields = vec![String::new()];
    for letter in declaration.chars() {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        match letter {
            ',' if depth == 0 => fields.push(String::new()),
            letter => fields.last_mut().unwrap().push(letter),
        }
    }
    let field = |field: &String| {
        let (name, kind) = field.split_once(':')?;
        Some((name.trim().to_owned(), kind.trim().starts_with('?')))
    };
    fields.iter().filter_map(field).collect()
}

/// What stands in the first brackets, and what comes behind them.
fn brackets(text: &str) -> (&str, &str) {
    let begin = text.find('(').unwrap();
    let mut depth = 0;
    for (at, letter) in text.char_indices().skip(begin) {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        if letter == ')' && depth == 0 {
            return (&text[begin + 1..at], &text[at + 1..]);
        }
    }
    panic!("no end: {text}");
}

/// The declarations of a kind in the description: name, and what stands behind it.
fn declared(keyword: &str) -> BTreeMap<&'static str, &'static str> {
    let body = DESCRIPTION;
    let lines = body.match_indices(keyword).filter(|(at, _)| body[..*at].ends_with('\n'));
    lines
        .map(|(at, _)| {
            let rest = body[at + keyword.len()..].trim_start();
            let end = rest.find([' ', '(']).unwrap();
            (&rest[..end], &rest[end..])
        })
        .collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn all(names: &BTreeMap<String, bool>) -> BTreeSet<String> {
    names.keys().cloned().collect()
}

fn every_request() -> Vec<Request> {
    let text = || Some("text".to_owned());
    let address = "192.0.2.7".parse().unwrap();
    let selection = Selection { tenant: text(), door: text() };
    vec![
        Request::Status(StatusOf { tenant: text() }),
        Request::Doors(selection.clone()),
        Request::Rules(selection),
        Request::Clients(ClientsOf { tenant: text(), address: Some(address) }),
        Request::Explain(Explain { address, follow: true, tenant: text() }),
        Request::Tail(Tail { tenant: text(), rule: text(), from: text(), kinds: Some(vec!["open".into()]) }),
        Request::Open(OpenDoor { door: "ssh".into(), client: "192.0.2.0/24".into(), lasts_ms: Some(1) }),
        Request::Close(CloseDoor { door: "ssh".into(), client: "192.0.2.7".into() }),
        Request::Reload,
        Request::Confirm,
    ]
}

fn event() -> Event {
    let text = || Some("text".to_owned());
    let fields = Map::from_iter([("stage".to_owned(), json!(1))]);
    Event {
        time_ms: 1,
        kind: "stage".into(),
        severity: "info".into(),
        tenant: text(),
        rule: text(),
        client: text(),
        door: text(),
        text: "is at stage 1".into(),
        fields,
    }
}

fn opening() -> Opening {
    let text = || Some("text".to_owned());
    Opening {
        door: "ssh".into(),
        kind: "guard".into(),
        client: "192.0.2.7".into(),
        state: "open".into(),
        tenant: text(),
        rule: text(),
        module: text(),
        since_ms: Some(1),
        left_ms: 2,
        packets: Some(3),
    }
}

fn rule() -> RuleInfo {
    RuleInfo {
        tenant: "host".into(),
        rule: "ssh".into(),
        state: RuleState::Resting,
        why: "it failed".into(),
        module: "00".into(),
        watches: vec!["udp/7000".into()],
        doors: vec!["ssh".into()],
    }
}

fn half_finished() -> HalfFinished {
    let (tenant, rule, client) = ("host".into(), "ssh".into(), "192.0.2.7".into());
    HalfFinished { tenant, rule, client, stage: 1, since_ms: 2, left_ms: 3 }
}

fn refusal_of_tenant() -> TenantRefusal {
    TenantRefusal { tenant: "web".into(), mistakes: vec!["a.toml:1: wrong".into()] }
}

fn status() -> Status {
    Status {
        processes: vec![Process {
            name: "engine".into(),
            state: ProcessState::Restarting,
            restarts: 1,
            held: "no capabilities".into(),
            missing: vec!["Landlock".into()],
        }],
        interfaces: vec![Interface {
            name: "eth0".into(),
            direction: "incoming".into(),
            state: InterfaceState::Waiting,
            why: "not there".into(),
        }],
        refused: vec![refusal_of_tenant()],
        drops: vec![Drops { reason: "not-watched".into(), last_minute: 1, total: 2 }],
        trial_left_ms: Some(1),
        ..Status::default()
    }
}

fn reply(method: &str) -> Reply {
    match method {
        "Status" => Reply::Status(Box::new(status())),
        "Doors" => Reply::Doors { doors: vec![opening()], left_out: 1 },
        "Rules" => Reply::Rules { rules: vec![rule()] },
        "Clients" => Reply::Clients { clients: vec![half_finished()] },
        "Explain" | "Tail" => Reply::Event { event: Some(Box::new(event())), left_out: 1 },
        "Open" | "Close" => Reply::Changed(Changed { door: "a".into(), client: "b".into(), left_ms: 1 }),
        "Reload" => Reply::Reloaded(NewGeneration {
            generation: 2,
            rules: 1,
            refused: vec![refusal_of_tenant()],
            warnings: vec!["text".to_owned()],
        }),
        "Confirm" => Reply::Confirmed {},
        other => panic!("the description has {other}, which nothing is known of"),
    }
}

#[test]
fn requests_and_replies_are_those_of_the_description() {
    let methods = declared("method ");
    let requests = every_request();
    let named: BTreeSet<_> =
        requests.iter().map(|it| it.method().rsplit_once('.').unwrap().1.to_owned()).collect();
    assert_eq!(named, methods.keys().map(|name| (*name).to_owned()).collect());
    for request in requests {
        let method = request.method();
        let name = method.rsplit_once('.').unwrap().1;
        let (parameters, rest) = brackets(methods[name]);
        let call = Call { request, more: true, oneway: false };
        let value = call.to_value();
        assert_eq!(keys(&value["parameters"]), all(&names(parameters)), "{name}");
        assert_eq!(Call::read(value.to_string().as_bytes()), Ok(call));
        let answer = Answer::Reply { reply: reply(name), continues: name == "Tail" };
        let value = answer.to_value();
        assert_eq!(keys(&value["parameters"]), all(&names(brackets(rest).0)), "answer to {name}");
        assert_eq!(Answer::read(&method, value.to_string().as_bytes()), Ok(answer));
    }
}

#[test]
fn types_are_those_of_the_description() {
    let value = |name: &str| match name {
        "Process" => serde_json::to_value(&status().processes[0]),
        "Interface" => serde_json::to_value(&status().interfaces[0]),
        "TenantRefusal" => serde_json::to_value(refusal_of_tenant()),
        "Drops" => serde_json::to_value(&status().drops[0]),
        "Opening" => serde_json::to_value(opening()),
        "RuleInfo" => serde_json::to_value(rule()),
        "HalfFinished" => serde_json::to_value(half_finished()),
        "Event" => serde_json::to_value(event()),
        other => panic!("the description has {other}, which nothing is known of"),
    };
    let types = declared("type ");
    assert_eq!(types.len(), 8);
    for (name, declaration) in types {
        let names = names(brackets(declaration).0);
        assert_eq!(keys(&value(name).unwrap()), all(&names), "{name}");
    }
}

#[test]
fn what_may_be_missing_may_be_missing() {
    for (name, declaration) in declared("method ") {
        let (parameters, _) = brackets(declaration);
        let needed = names(parameters).into_iter().filter(|(_, is_optional)| !is_optional);
        let parameters: Map<_, _> = needed.map(|(name, _)| (name, json!("192.0.2.7"))).collect();
        let call = json!({ "method": format!("{INTERFACE}.{name}"), "parameters": parameters });
        let call = Call::read(call.to_string().as_bytes());
        assert!(call.is_ok(), "{name}: {call:?}");
        for missing in parameters.keys() {
            let mut fewer = parameters.clone();
            fewer.remove(missing);
            let call = json!({ "method": format!("{INTERFACE}.{name}"), "parameters": fewer }).to_string();
            let Err(CallError::Parameter(what)) = Call::read(call.as_bytes()) else {
                panic!("{name} without {missing}")
            };
            assert!(what.contains(missing), "{what}");
        }
    }
    let no_parameters = format!(r#"{{"method":"{INTERFACE}.Status"}}"#);
    assert_eq!(Call::read(no_parameters.as_bytes()).unwrap().request, Request::Status(StatusOf::default()));
}

#[test]
fn refusals_are_those_of_the_description() {
    let text = || "text".to_owned();
    let refusals = [
        Refusal::NotAllowed { uid: 1000, what: text(), remedy: text() },
        Refusal::NotFound { kind: text(), name: text(), there_are: text() },
        Refusal::NotDone { why: text() },
        Refusal::Mistakes { generation: 1, mistakes: vec![text()] },
        Refusal::Busy { why: text() },
        Refusal::InterfaceNotFound { interface: text() },
        Refusal::MethodNotFound { method: text() },
        Refusal::InvalidParameter { parameter: text() },
        Refusal::ExpectedMore {},
    ];
    let errors = declared("error ");
    let mut own = 0;
    for refusal in refusals {
        let full = refusal.name();
        let (interface, name) = full.rsplit_once('.').unwrap();
        let answer = Answer::Refusal(refusal);
        let value = answer.to_value();
        if interface == INTERFACE {
            own += 1;
            assert_eq!(keys(&value["parameters"]), all(&names(brackets(errors[name]).0)), "{name}");
        } else {
            assert!(SERVICE_DESCRIPTION.contains(&format!("error {name} (")), "{name}");
        }
        assert_eq!(Answer::read("any", value.to_string().as_bytes()), Ok(answer));
    }
    assert_eq!(own, errors.len());
    let unknown = br#"{"error":"org.example.New","parameters":{"a":1}}"#;
    let Ok(Answer::Refusal(refusal)) = Answer::read("any", unknown) else { panic!() };
    assert_eq!(refusal.name(), "org.example.New");
    assert_eq!(refusal.to_string(), r#"org.example.New: {"a":1}"#);
}

#[test]
fn what_is_no_request_is_told_from_a_wrong_one() {
    let read = |text: &str| Call::read(text.as_bytes()).unwrap_err();
    assert!(matches!(read("GET / HTTP/1.1"), CallError::Malformed(_)));
    assert!(matches!(read("{}"), CallError::Malformed(_)));
    let array = format!(r#"["{INTERFACE}.Status",null,false,false]"#);
    assert!(matches!(read(&array), CallError::Malformed(_)));
    assert_eq!(read(r#"{"method":"Status"}"#), CallError::Interface(String::new()));
    assert_eq!(read(r#"{"method":"org.example.Status"}"#), CallError::Interface("org.example".into()));
    let method = format!("{INTERFACE}.Nothing");
    assert_eq!(read(&format!(r#"{{"method":"{method}"}}"#)), CallError::Method(method));
    let unknown = format!(r#"{{"method":"{INTERFACE}.Doors","parameters":{{"dor":"ssh"}}}}"#);
    assert!(read(&unknown).to_string().contains("`dor`"), "{}", read(&unknown));
    let unknown = format!(r#"{{"method":"{INTERFACE}.Status","parameters":{{"all":true}}}}"#);
    assert!(read(&unknown).to_string().contains("`all`"), "{}", read(&unknown));
    let wrong = format!(r#"{{"method":"{INTERFACE}.Explain","parameters":{{"address":"home"}}}}"#);
    assert!(read(&wrong).to_string().contains("IP address"), "{}", read(&wrong));
}

#[test]
fn messages_are_found_however_they_are_cut() {
    let sent = [json!({"a": 1}), json!({"b": "\u{0}"}), json!({})];
    let stream: Vec<u8> = sent.iter().flat_map(message).collect();
    for size in 1..=stream.len() {
        let mut reader = MessageReader::new(100);
        let mut found = Vec::new();
        for part in stream.chunks(size) {
            reader.push(part);
            while let Some(message) = reader.take().unwrap() {
                found.push(serde_json::from_slice::<Value>(&message).unwrap());
            }
        }
        assert_eq!(found, sent, "in parts of {size}");
    }
}

#[test]
fn a_message_without_end_is_not_gathered() {
    let mut reader = MessageReader::new(4);
    reader.push(b"1234");
    assert_eq!(reader.take(), Ok(None));
    reader.push(b"\0\x0012345");
    assert_eq!(reader.take(), Ok(Some(b"1234".to_vec())));
    assert_eq!(reader.take(), Ok(Some(Vec::new())));
    assert_eq!(reader.take(), Err(Cut { longest: 4 }));
    let mut reader = MessageReader::new(4);
    reader.push(b"12345\0");
    assert_eq!(reader.take(), Err(Cut { longest: 4 }));
}
