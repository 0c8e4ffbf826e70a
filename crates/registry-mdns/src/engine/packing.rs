//! Records into packets: as few as possible, none larger than it must be (RFC 6762 sections 6.4
//! and 17).

use std::collections::HashSet;

use crate::codec::{Ask, Data, MAX_PAYLOAD, Message, Name, Record};

/// The largest payload that does not get fragmented on Ethernet with IPv6.
pub(super) const COMFORTABLE: usize = 1_452;
const HEADER: usize = 12;

/// What must stand in one packet.
#[derive(Clone, Debug, Default)]
pub(super) struct Unit {
    pub(super) questions: Vec<Ask>,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    pub(super) additionals: Vec<Record>,
}

impl Unit {
    fn records(&self) -> impl Iterator<Item = &Record> {
        self.answers
            .iter()
            .chain(&self.authorities)
            .chain(&self.additionals)
    }
}

/// Packs units into packets that are otherwise like `template`; `size` tells what a unit takes.
pub(super) fn pack(template: &Message, units: Vec<Unit>) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut open = Vec::new();
    let mut estimate = Estimate::new(template);
    for unit in units {
        if !estimate.add(&unit) && !open.is_empty() {
            finish(template, std::mem::take(&mut open), &mut packets);
            estimate = Estimate::new(template);
            estimate.add(&unit);
        }
        open.push(unit);
    }
    finish(template, open, &mut packets);
    packets
}

fn finish(template: &Message, mut units: Vec<Unit>, packets: &mut Vec<Vec<u8>>) {
    if units.is_empty() {
        return;
    }
    let payload = joined(template, &units).encode();
    let fits = payload
        .as_ref()
        .is_some_and(|payload| payload.len() <= COMFORTABLE);
    if fits || units.len() == 1 {
        // What can't be written at all is larger than any packet; registering refuses that.
        packets.extend(payload);
    } else {
        let rest = units.split_off(units.len() / 2);
        finish(template, units, packets);
        finish(template, rest, packets);
    }
}

fn joined(template: &Message, units: &[Unit]) -> Message {
    let mut message = template.clone();
    for unit in units {
        message.questions.extend(unit.questions.iter().cloned());
        message.answers.extend(unit.answers.iter().cloned());
        message.authorities.extend(unit.authorities.iter().cloned());
        for record in &unit.additionals {
            if !message.additionals.contains(record) && !message.answers.contains(record) {
                message.additionals.push(record.clone());
            }
        }
    }
    message
}

/// One question, what goes along with it, and as many known answers as fit; the rest in further
/// packets, the truncated bit telling of them (RFC 6762 section 7.2).
pub(super) fn pack_question(
    id: u16,
    questions: Vec<Ask>,
    known: Vec<Record>,
    additionals: Vec<Record>,
) -> Vec<Vec<u8>> {
    let mut packets: Vec<Message> = Vec::new();
    let mut open = Message::query();
    open.id = id;
    open.questions = questions;
    let mut estimate = Estimate::new(&open);
    let along = Unit {
        additionals,
        ..Unit::default()
    };
    estimate.add(&along);
    open.additionals = along.additionals;
    for record in known {
        let unit = Unit {
            answers: vec![record],
            ..Unit::default()
        };
        let is_empty = open.questions.is_empty() && open.answers.is_empty();
        if !estimate.add(&unit) && !is_empty {
            open.truncated = true;
            let mut next = Message::query();
            next.id = id;
            packets.push(std::mem::replace(&mut open, next));
            estimate = Estimate::new(&open);
            estimate.add(&unit);
        }
        open.answers.extend(unit.answers);
    }
    packets.push(open);
    packets.iter().filter_map(Message::encode).collect()
}

/// About how many bytes a packet will have. It takes for granted that of a name all but the first
/// label stand elsewhere in the packet.
struct Estimate {
    size: usize,
    seen: HashSet<Name, foldhash::fast::RandomState>,
}

impl Estimate {
    fn new(template: &Message) -> Self {
        let mut estimate = Self {
            // The ends of names that stand in each packet once.
            size: HEADER + 40,
            seen: HashSet::default(),
        };
        for question in &template.questions {
            estimate.size += question.name.len() + 4;
            estimate.seen.insert(question.name.clone());
        }
        estimate
    }

    /// Adds a unit; false if the packet is too large with it.
    fn add(&mut self, unit: &Unit) -> bool {
        for question in &unit.questions {
            self.size += self.name(&question.name) + 4;
        }
        for record in unit.records() {
            self.size += self.name(&record.name) + 10 + self.data(&record.data);
        }
        self.size <= COMFORTABLE
    }

    fn name(&mut self, name: &Name) -> usize {
        match self.seen.insert(name.clone()) {
            true => name.first_label().len() + 3,
            false => 2,
        }
    }

    fn data(&mut self, data: &Data) -> usize {
        match data {
            Data::A(_) => 4,
            Data::Aaaa(_) => 16,
            Data::Ptr(name) => self.name(name),
            Data::Srv(srv) => 6 + self.name(&srv.target),
            Data::Txt(bytes) => bytes.len().max(1),
            Data::Nsec(_) => 80,
            Data::Other(_) => 0,
        }
    }
}

const _: () = assert!(COMFORTABLE < MAX_PAYLOAD);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::kind;

    fn name(labels: &[&str]) -> Name {
        Name::from_labels(labels.iter().map(|label| label.as_bytes())).unwrap()
    }

    fn unit(number: usize, txt: usize) -> Unit {
        let label = format!("node-{number}-0123456789abcdef");
        let owner = name(&[&label, "_vine", "_tcp", "local"]);
        let record = |owner: &Name, data| Record {
            name: owner.clone(),
            flush: false,
            ttl: 120,
            data,
        };
        let mut bytes = vec![];
        for _ in 0..txt / 100 {
            bytes.push(99);
            bytes.extend([b'x'; 99]);
        }
        Unit {
            answers: vec![record(
                &name(&["_vine", "_tcp", "local"]),
                Data::Ptr(owner.clone()),
            )],
            additionals: vec![
                record(&owner, Data::Txt(bytes.into())),
                record(&name(&["vine-1", "local"]), Data::A([10, 0, 0, 1].into())),
            ],
            ..Unit::default()
        }
    }

    #[test]
    fn s6_4_answers_share_packets_and_s17_packets_are_no_larger_than_they_must_be() {
        let units: Vec<_> = (0..100).map(|number| unit(number, 100)).collect();
        let packets = pack(&Message::answer(), units);
        assert!(packets.iter().all(|packet| packet.len() <= COMFORTABLE));
        let (last, full) = packets.split_last().unwrap();
        assert!(full.iter().all(|packet| packet.len() > COMFORTABLE - 250));
        let read = |packet: &Vec<u8>| Message::decode(packet).unwrap();
        let answers: usize = packets
            .iter()
            .map(|packet| read(packet).answers.len())
            .sum();
        assert_eq!(answers, 100);
        let addresses = read(last)
            .additionals
            .iter()
            .filter(|r| r.data.kind() == kind::A)
            .count();
        assert_eq!(addresses, 1, "the same address stands in a packet once");
    }

    #[test]
    fn s17_what_cannot_be_split_has_a_packet_of_its_own() {
        let units = vec![unit(0, 100), unit(1, 4_000), unit(2, 100)];
        let packets = pack(&Message::answer(), units);
        let sizes: Vec<_> = packets.iter().map(Vec::len).collect();
        assert!(
            matches!(sizes[..], [..300, 4_000..5_000, ..300]),
            "{sizes:?}"
        );
    }

    #[test]
    fn s7_2_known_answers_go_on_in_further_packets() {
        let question = Ask::new(name(&["_vine", "_tcp", "local"]), kind::PTR);
        let known = (0..100)
            .flat_map(|number| unit(number, 0).answers)
            .collect();
        let packets = pack_question(0, vec![question], known, Vec::new());
        let packets: Vec<_> = packets
            .iter()
            .map(|p| Message::decode(p).unwrap())
            .collect();
        let (last, others) = packets.split_last().unwrap();
        assert!(!others.is_empty() && others.iter().all(|packet| packet.truncated));
        assert!(!last.truncated);
        assert_eq!(
            packets
                .iter()
                .map(|packet| packet.questions.len())
                .sum::<usize>(),
            1
        );
        assert_eq!(
            packets
                .iter()
                .map(|packet| packet.answers.len())
                .sum::<usize>(),
            100
        );
    }

    #[test]
    fn s18_14_the_most_names_that_fit_are_all_compressed() {
        let questions = (0..300).map(|number| {
            let label = format!("-{number:017x}");
            let owner = name(&[&label, "_vine", "_tcp", "local"]);
            Unit {
                questions: vec![Ask::new(owner, kind::SRV)],
                ..Unit::default()
            }
        });
        let packets = pack(&Message::query(), questions.collect());
        let first = Message::decode(&packets[0]).unwrap();
        let type_and_header = 12 + b"\x05_vine\x04_tcp\x05local\x00".len() - 2;
        assert!(first.questions.len() >= 50);
        for (packet, read) in packets.iter().map(|p| (p, Message::decode(p).unwrap())) {
            assert_eq!(packet.len(), type_and_header + 25 * read.questions.len());
        }
    }
}
