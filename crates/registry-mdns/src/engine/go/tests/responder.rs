//! What was recorded of Go's responder is answered here, too, but for its faults.

use serde_json::Value as Json;

use super::{
    super::names::{name, text},
    bytes, json,
    link::{Link, Process},
    service,
};
use crate::{
    codec::{Ask, Message, Record, kind},
    engine::Destination,
    options::Dialect,
};

/// What to make of a recorded answer.
enum Expected {
    /// At least what Go has in it, in its order.
    Answer,
    /// Go answers, which is a fault.
    Fault,
}

fn expected(case: &str) -> Expected {
    match case {
        // To answer an answer is how echoes begin; and CH is not IN.
        "QR=1 (a response with question)" | "class CH" => Expected::Fault,
        _ => Expected::Answer,
    }
}

/// As in the recorded summaries, with the target of this process for Go's.
fn summary(record: &Record) -> String {
    use crate::codec::Data;
    let kind = match &record.data {
        Data::Ptr(target) => return format!("PTR:{}", text(target).unwrap()),
        Data::Srv(_) => "SRV",
        Data::A(_) => return "A:vm".to_owned(),
        Data::Txt(_) => "TXT",
        other => panic!("{other:?} in an answer"),
    };
    format!("{kind}:{}", text(&record.name).unwrap())
}

fn recorded(reply: &Json) -> Vec<String> {
    let summary = reply["summary"].as_str().unwrap();
    let (_, answers) = summary.split_once("an=[").unwrap();
    let (answers, _) = answers.split_once(']').unwrap();
    answers.split(' ').map(str::to_owned).collect()
}

fn replies(dialect: Dialect, port: u16, query: &[u8]) -> Vec<Message> {
    let mut link = Link::new(8);
    let host = link.host();
    let one = link.add(host, Process::ours(dialect));
    link.register(one, &service("foo", "foo-1", "10.0.0.1:8080"));
    link.run_ms(10);
    let target = link.sent_in_go_dialect(one)[0].message.answers[1]
        .name
        .clone();
    let before = link.sent_in_go_dialect(one).len();
    // The recorded questions name Go's host; this one's has another name.
    let mut query = query.to_vec();
    let vm = b"\x02vm\x00";
    if let Some(at) = query.windows(4).position(|bytes| bytes == vm) {
        let label = target.first_label();
        let name = [&[label.len() as u8], label, &[0]].concat();
        query.splice(at..at + 4, name);
    }
    link.ask_from(one, port, &query);
    link.run_ms(20);
    let sent = link.sent_in_go_dialect(one).split_off(before);
    let answers = sent.into_iter().map(|sent| {
        assert!(matches!(sent.to, Destination::Unicast(_)), "{sent:?}");
        assert_eq!(sent.flags(), 0x8420);
        sent.message
    });
    answers.collect()
}

#[test]
fn what_go_answers_is_answered() {
    let cases = json("responder_behaviour.json");
    let cases = cases.as_object().unwrap();
    assert_eq!(cases.len(), 22);
    for dialect in [Dialect::Vine, Dialect::Both] {
        for (name, case) in cases {
            let query = bytes(case["query_hex"].as_str().unwrap());
            let is_standing = name == "from port 5353";
            let port = if is_standing { 5353 } else { 50_000 };
            let replies = replies(dialect, port, &query);
            let recorded_replies = case["replies"].as_array().unwrap();
            if matches!(expected(name), Expected::Fault) {
                assert_eq!(replies, [], "{name}");
                continue;
            }
            // Go gives the address of a host once for each of its interfaces' entries.
            let mut wanted: Vec<_> = recorded_replies.iter().map(recorded).collect();
            wanted.dedup();
            assert_eq!(replies.len(), wanted.len(), "{name}: {replies:?}");
            for (number, wanted) in wanted.iter().enumerate() {
                let fits = |reply: &&Message| {
                    let given: Vec<_> = reply.answers.iter().map(summary).collect();
                    wanted.iter().all(|record| given.contains(record))
                };
                let reply = replies.iter().find(fits);
                let reply = reply.unwrap_or_else(|| panic!("{name}, {number}: {replies:?}"));
                complete(reply);
                let id = if name.ends_with("QU") { 0x1234 } else { 0 };
                assert_eq!(reply.id, id, "{name}");
                assert_eq!(reply.questions.len(), usize::from(!is_standing), "{name}");
            }
        }
    }
}

/// Nothing is missing in an answer that a Go reader could ask for, and it is in order.
fn complete(reply: &Message) {
    use crate::codec::kind;
    let kinds: Vec<_> = reply.answers.iter().map(|one| one.data.kind()).collect();
    let ending = [kind::SRV, kind::A, kind::TXT];
    assert!(kinds.ends_with(&ending), "{kinds:?}");
    assert!(kinds.len() <= 4 && reply.answers.iter().all(|one| one.ttl == 120));
}

#[test]
fn what_is_asked_many_times_in_a_packet_is_answered_once() {
    let mut link = Link::new(8);
    let host = link.host();
    let one = link.add(host, Process::ours(Dialect::Vine));
    link.register(one, &service("foo", "foo-1", "10.0.0.1:8080"));
    link.run_ms(10_000);
    link.sent.clear();
    let asked = name("foo.vine").unwrap();
    let mut question = Message::query();
    question.questions = vec![Ask::new(asked, kind::PTR); 200];
    link.ask(one, &question);
    link.run_ms(1_000);
    assert_eq!(link.sent.len(), 1);
}
