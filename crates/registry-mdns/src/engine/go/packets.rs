//! Records of the Go dialect into packets, and back.

use std::{net::IpAddr, sync::Arc};

use super::{
    TTL,
    names::{name, text},
};
use crate::codec::{Ask, Data, Message, Name, Record, Srv, Style};

/// QR, AA and AD, as Go's answers have them.
const ANSWER: u16 = 0x8420;
/// QR alone, as Go's announcements and goodbyes have it.
const ANNOUNCEMENT: u16 = 0x8000;
/// What stands where a list has no port to tell.
const NO_PORT: u16 = 9_999;

/// What a packet says of one node.
#[derive(Clone, Debug)]
pub(super) struct NodeRecords {
    pub(super) instance: Name,
    pub(super) target: Name,
    pub(super) port: u16,
    pub(super) address: IpAddr,
    pub(super) txt: Arc<[u8]>,
    pub(super) ttl: u32,
}

impl NodeRecords {
    /// SRV, address and TXT: Go readers want SRV before the address.
    fn records(&self) -> [Record; 3] {
        [
            self.record(
                &self.instance,
                Data::Srv(Srv {
                    port: self.port,
                    target: self.target.clone(),
                }),
            ),
            self.record(
                &self.target,
                match self.address {
                    IpAddr::V4(address) => Data::A(address),
                    IpAddr::V6(address) => Data::Aaaa(address),
                },
            ),
            self.record(&self.instance, Data::Txt(Arc::clone(&self.txt))),
        ]
    }

    fn record(&self, name: &Name, data: Data) -> Record {
        Record {
            name: name.clone(),
            flush: false,
            ttl: self.ttl,
            data,
        }
    }

    /// Tells everybody that the node is there.
    pub(super) fn announcement(&self) -> Message {
        let mut message = Message::answer();
        message.style = Style::Go {
            flags: ANNOUNCEMENT,
        };
        message.answers = self.records().into();
        message
    }

    /// Tells everybody that it is gone.
    pub(super) fn goodbye(mut self) -> Message {
        self.ttl = 0;
        self.announcement()
    }

    /// Answers a question; with a pointer from the name that was asked for, if it is not the
    /// node's own.
    pub(super) fn answer(&self, id: u16, question: &Ask, echo: bool, pointer: bool) -> Message {
        let mut message = Message::answer();
        message.style = Style::Go { flags: ANSWER };
        message.id = id;
        message.questions.extend(echo.then(|| question.clone()));
        if pointer {
            let data = Data::Ptr(self.instance.clone());
            message.answers.push(self.record(&question.name, data));
        }
        message.answers.extend(self.records());
        message
    }
}

/// What a list says of one entry: it looks like a node.
pub(super) fn entry(entry: &str, target: Name) -> Option<NodeRecords> {
    Some(NodeRecords {
        instance: name(entry)?,
        target,
        port: NO_PORT,
        address: [0, 0, 0, 0].into(),
        txt: Arc::from([]),
        ttl: TTL,
    })
}

/// What was heard of a node.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) instance: String,
    pub(super) target: Name,
    pub(super) port: u16,
    pub(super) address: IpAddr,
    pub(super) txt: Arc<[u8]>,
    pub(super) ttl: u32,
    pub(super) is_goodbye: bool,
}

fn records(message: &Message) -> impl DoubleEndedIterator<Item = &Record> {
    message.answers.iter().chain(&message.additionals)
}

/// The nodes of a packet. Records of one are found by their names; a lone node may have its
/// address at any name, and its packet is a goodbye if the last record says so.
pub(super) fn nodes(message: &Message) -> Vec<Heard> {
    let srvs: Vec<(&Name, &Srv)> = records(message)
        .filter_map(|record| match &record.data {
            Data::Srv(srv) if srv.port != 0 => Some((&record.name, srv)),
            _ => None,
        })
        .collect();
    let is_alone = srvs.len() == 1;
    let heard = srvs.into_iter().filter_map(|(instance, srv)| {
        let address = records(message).find_map(|record| match record.data {
            _ if !is_alone && record.name != srv.target => None,
            Data::A(address) => Some(IpAddr::V4(address)),
            Data::Aaaa(address) => Some(IpAddr::V6(address)),
            _ => None,
        })?;
        let (txt, ttl) = records(message).find_map(|record| match &record.data {
            Data::Txt(txt) if record.name == *instance => Some((Arc::clone(txt), record.ttl)),
            _ => None,
        })?;
        let last = records(message).next_back().map_or(ttl, |last| last.ttl);
        Some(Heard {
            instance: text(instance)?,
            target: srv.target.clone(),
            port: srv.port,
            address,
            txt,
            ttl,
            is_goodbye: if is_alone { last == 0 } else { ttl == 0 },
        })
    });
    heard.collect()
}

/// The pointers of a packet: from where, to where, and for how long.
pub(super) fn pointers(message: &Message) -> impl Iterator<Item = (String, String, u32)> {
    records(message).filter_map(|record| match &record.data {
        Data::Ptr(to) => Some((text(&record.name)?, text(to)?, record.ttl)),
        _ => None,
    })
}
