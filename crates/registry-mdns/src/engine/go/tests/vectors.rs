//! Every recorded packet is read as what it says.

use serde_json::Value as Json;
use vine_registry::{Service, Wait};

use super::{
    super::{names::text, payload::Payload},
    bytes, file, json,
    link::{Link, Process},
};
use crate::{
    codec::{Data, Message, Record, kind},
    engine::{EngineEvent, Question},
    options::Dialect,
};

fn packets() -> Vec<(Json, Vec<u8>)> {
    let all = json("vectors.json");
    let packets = all["packets"].as_array().unwrap().iter();
    packets
        .map(|packet| {
            let hex = file(packet["file"].as_str().unwrap());
            (packet.clone(), bytes(&hex))
        })
        .collect()
}

fn labels(json: &Json) -> String {
    let labels: Vec<_> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|label| label.as_str().unwrap())
        .collect();
    labels.join(".")
}

fn same_record(record: &Record, said: &Json) {
    assert_eq!(text(&record.name).unwrap(), labels(&said["labels"]));
    assert_eq!(u64::from(record.ttl), said["ttl"]);
    assert!(!record.flush);
    match &record.data {
        Data::Srv(srv) => {
            assert_eq!(said["type"], "SRV");
            assert_eq!(u64::from(srv.port), said["port"]);
            assert_eq!(text(&srv.target).unwrap(), labels(&said["target"]));
        }
        Data::A(address) => {
            assert_eq!(said["type"], "A");
            assert_eq!(said["addr"], address.to_string());
        }
        Data::Aaaa(address) => {
            assert_eq!(said["type"], "AAAA");
            assert_eq!(said["addr"], address.to_string());
        }
        Data::Ptr(target) => {
            assert_eq!(said["type"], "PTR");
            assert_eq!(text(target).unwrap(), labels(&said["ptr"]));
        }
        Data::Txt(txt) => {
            assert_eq!(said["type"], "TXT");
            same_payload(txt, &said["txt_json"]);
        }
        other => panic!("{other:?} is not among the recorded ones"),
    }
}

/// What was read says the same as the JSON that was recorded.
fn same_payload(txt: &[u8], said: &Json) {
    let Some(said) = said.as_str() else {
        assert_eq!(Payload::decode(txt), None);
        return;
    };
    let said: Json = serde_json::from_str(said).unwrap();
    let read = serde_json::to_value(Payload::decode(txt).unwrap()).unwrap();
    for key in ["Service", "Version", "Namespace", "Endpoints", "Metadata"] {
        assert_eq!(
            read[key],
            *said.get(key).unwrap_or(&Json::Null),
            "{key} of {said}"
        );
    }
}

#[test]
fn every_packet_decodes_to_what_it_says() {
    let packets = packets();
    assert_eq!(packets.len(), 30);
    for (packet, bytes) in packets {
        let said = &packet["decoded"];
        assert_eq!(bytes.len() as u64, packet["length"]);
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(u64::from(message.id), said["id"]);
        assert_eq!(u64::from(message.response), said["QR"]);
        assert!(message.plain && !message.truncated);
        let questions = said["question"].as_array().unwrap();
        assert_eq!(message.questions.len(), questions.len());
        for (question, said) in message.questions.iter().zip(questions) {
            assert_eq!(text(&question.name).unwrap(), labels(&said["labels"]));
            assert_eq!((question.kind, &said["type"]), (kind::PTR, &"PTR".into()));
            assert_eq!(u64::from(question.unicast), said["unicast_bit"]);
        }
        for (records, section) in [
            (&message.answers, "answer"),
            (&message.authorities, "authority"),
            (&message.additionals, "additional"),
        ] {
            let said = said[section].as_array().unwrap();
            assert_eq!(records.len(), said.len(), "{packet}");
            for (record, said) in records.iter().zip(said) {
                same_record(record, said);
            }
        }
    }
}

/// What a recorded packet means: the service as it is to be found.
fn meant(packet: &Json) -> Option<Service> {
    let answers = packet["decoded"]["answer"].as_array()?;
    let of = |kind: &str| answers.iter().find(|record| record["type"] == kind);
    let json = of("TXT")?["txt_json"].as_str()?;
    let said: Json = serde_json::from_str(json).ok()?;
    let instance = labels(&of("SRV")?["labels"]);
    let name = said["Service"].as_str()?;
    let domain = instance.rsplit('.').next()?;
    let id = instance.strip_suffix(&format!(".{name}.{domain}"))?;
    let port = &of("SRV")?["port"];
    let address = match (of("A"), of("AAAA")) {
        (Some(a), _) => format!("{}:{port}", a["addr"].as_str()?),
        (None, Some(aaaa)) => format!("[{}]:{port}", aaaa["addr"].as_str()?),
        (None, None) => return None,
    };
    let service = serde_json::json!({
        "name": name, "version": said["Version"], "namespace": domain,
        "endpoints": said["Endpoints"],
        "nodes": [{ "id": id, "address": address, "metadata": said["Metadata"] }],
    });
    serde_json::from_value(service).ok()
}

#[test]
fn what_go_announces_and_answers_is_found_and_its_goodbye_ends_it() {
    let packets = packets();
    let mut tried = 0;
    for (packet, announced) in &packets {
        let kind = packet["kind"].as_str().unwrap();
        if !["announcement", "response"].contains(&kind) {
            continue;
        }
        tried += 1;
        let meant = meant(packet).unwrap();
        for dialect in [Dialect::Vine, Dialect::Both] {
            let mut link = Link::new(3);
            let host = link.host();
            let one = link.add(host, Process::ours(dialect));
            let question = Question::Service {
                namespace: meant.namespace.clone(),
                name: meant.name.clone(),
            };
            link.ours(one, |engine, now| {
                engine.lookup(now, question.clone(), Wait::First);
                engine.browse(now, question.clone());
            });
            link.stranger(one, kind == "announcement", announced);
            let found: Vec<_> = link.events(one);
            let services = found.iter().filter_map(|event| match event {
                EngineEvent::Found(remote) => Some((*remote.service).clone()),
                _ => None,
            });
            assert_eq!(services.collect::<Vec<_>>(), std::slice::from_ref(&meant));

            let scenario = &packet["scenario"];
            let goodbye = packets
                .iter()
                .find(|(other, _)| other["scenario"] == *scenario && other["kind"] == "goodbye");
            link.stranger(one, true, &goodbye.unwrap().1);
            let gone = link.events(one);
            let is_gone = |event: &&EngineEvent| matches!(event, EngineEvent::Gone(..));
            assert_eq!(gone.iter().filter(is_gone).count(), 1, "{gone:?}");
        }
    }
    assert_eq!(tried, 8);
}

#[test]
fn what_go_lists_is_asked_for() {
    for (packet, bytes) in packets() {
        if packet["kind"] != "services_response" {
            continue;
        }
        let listed = labels(&packet["decoded"]["answer"][0]["ptr"]);
        let (name, domain) = listed.split_once("._services.").unwrap();
        let mut link = Link::new(4);
        let host = link.host();
        let one = link.add(host, Process::ours_in(Dialect::Vine, domain));
        link.ours(one, |engine, now| engine.browse(now, Question::All));
        link.stranger(one, false, &bytes);
        link.run_ms(10);
        let asked = link.asked_by(one);
        assert!(asked.contains(&format!("{name}.{domain}")), "{asked:?}");
    }
}
