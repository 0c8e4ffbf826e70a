//! Packets and bytes: the only file that knows which crate does the coding.

use std::{
    cmp::Ordering,
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{Hash, Hasher},
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use hickory_proto::{
    ProtoError,
    rr::Name as WireName,
    serialize::binary::{
        BinDecodable, BinDecoder, BinEncodable, BinEncoder, DecodeError, NameEncoding,
    },
};

/// The largest payload that is sent or read: RFC 6762 section 17, less the IPv6 and UDP headers.
pub(crate) const MAX_PAYLOAD: usize = 8_972;

const CLASS_IN: u16 = 1;
const CLASS_ANY: u16 = 255;
/// Cache flush in a record (RFC 6762 section 10.2), unicast response in a question (5.4).
const TOP_BIT: u16 = 0x8000;
const RESPONSE: u16 = 0x8000;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const OPCODE_AND_RCODE: u16 = 0x780F;

/// The types of records that matter here.
pub(crate) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const NSEC: u16 = 47;
    pub(crate) const ANY: u16 = 255;
}

/// A domain name: cheap to clone, compared without regard to ASCII case (RFC 6762 section 16).
/// The root by default.
#[derive(Clone, Default)]
pub(crate) struct Name(Arc<WireName>);

impl Name {
    /// The name made of these labels; none if one has no byte or more than 63, or all have more
    /// than 255.
    pub(crate) fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut name = WireName::from_labels(labels).ok()?;
        name.set_fqdn(true);
        Some(Self(Arc::new(name)))
    }

    /// The labels, from the left.
    pub(crate) fn labels(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.iter()
    }

    /// The leftmost label.
    pub(crate) fn first_label(&self) -> &[u8] {
        self.labels().next().unwrap_or_default()
    }

    /// Whether this is one label and then `parent`.
    pub(crate) fn is_child_of(&self, parent: &Self) -> bool {
        self.0.num_labels() == parent.0.num_labels() + 1
            && same_labels(self.labels().skip(1), parent.labels())
    }

    /// How many bytes it takes without compression.
    pub(crate) fn len(&self) -> usize {
        self.labels().map(|label| label.len() + 1).sum::<usize>() + 1
    }

    fn read(decoder: &mut BinDecoder<'_>) -> Result<Self, DecodeError> {
        WireName::read(decoder).map(|name| Self(Arc::new(name)))
    }
}

fn same_labels<'a>(
    mut a: impl Iterator<Item = &'a [u8]>,
    mut b: impl Iterator<Item = &'a [u8]>,
) -> bool {
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a.eq_ignore_ascii_case(b) => {}
            _ => return false,
        }
    }
}

fn folded(label: &[u8]) -> impl Iterator<Item = u8> {
    label.iter().map(u8::to_ascii_lowercase)
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || same_labels(self.labels(), other.labels())
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (mut folded, mut len) = ([0; 256], 0);
        for label in self.labels() {
            for byte in label {
                folded[len] = byte.to_ascii_lowercase();
                len += 1;
            }
            folded[len] = 0;
            len += 1;
        }
        state.write(&folded[..len]);
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mut a, mut b) = (self.labels(), other.labels());
        loop {
            let order = match (a.next(), b.next()) {
                (None, None) => return Ordering::Equal,
                (None, _) => Ordering::Less,
                (_, None) => Ordering::Greater,
                (Some(a), Some(b)) => folded(a).cmp(folded(b)),
            };
            if order.is_ne() {
                return order;
            }
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in self.labels() {
            write!(f, "{}.", String::from_utf8_lossy(label).escape_debug())?;
        }
        Ok(())
    }
}

/// A question as it stands in a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ask {
    pub(crate) name: Name,
    pub(crate) kind: u16,
    /// The unicast-response bit.
    pub(crate) unicast: bool,
}

impl Ask {
    /// A question that is answered by multicast.
    pub(crate) fn new(name: Name, kind: u16) -> Self {
        Self {
            name,
            kind,
            unicast: false,
        }
    }

    /// Whether records of this type are asked for.
    pub(crate) fn wants(&self, kind: u16) -> bool {
        self.kind == kind || self.kind == kind::ANY
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: Name,
    pub(crate) flush: bool,
    /// Seconds.
    pub(crate) ttl: u32,
    pub(crate) data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ptr(Name),
    Srv(Srv),
    /// Character strings with their length bytes, as on the wire.
    Txt(Arc<[u8]>),
    /// The types that the name has; it has no other.
    Nsec(Vec<u16>),
    /// A type that is of no concern here.
    Other(u16),
}

impl Data {
    /// The type.
    pub(crate) fn kind(&self) -> u16 {
        match self {
            Self::A(_) => kind::A,
            Self::Aaaa(_) => kind::AAAA,
            Self::Ptr(_) => kind::PTR,
            Self::Srv(_) => kind::SRV,
            Self::Txt(_) => kind::TXT,
            Self::Nsec(_) => kind::NSEC,
            Self::Other(kind) => *kind,
        }
    }
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Srv {
    pub(crate) port: u16,
    pub(crate) target: Name,
}

/// How a packet is written, where that is a matter of dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    DnsSd,
    /// As Vine for Go writes it: with these flags, SRV with priority 10 and weight 1, and an empty
    /// TXT record without any string.
    Go { flags: u16 },
}

/// A packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) style: Style,
    pub(crate) id: u16,
    pub(crate) response: bool,
    pub(crate) truncated: bool,
    /// Whether opcode and response code are 0: others are to be ignored (RFC 6762 section 18).
    pub(crate) plain: bool,
    pub(crate) questions: Vec<Ask>,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) additionals: Vec<Record>,
}

/// Says in a written packet that it is not the whole.
pub(crate) fn set_truncated(packet: &mut [u8]) {
    let [high, _] = TRUNCATED.to_be_bytes();
    if let Some(flags) = packet.get_mut(2) {
        *flags |= high;
    }
}

impl Message {
    /// An empty question.
    pub(crate) fn query() -> Self {
        Self {
            plain: true,
            ..Self::default()
        }
    }

    /// An empty answer.
    pub(crate) fn answer() -> Self {
        Self {
            response: true,
            ..Self::query()
        }
    }

    /// Makes one of questions for the same: it is put to all if one of them is.
    pub(crate) fn merge_questions(&mut self) {
        let mut merged: Vec<Ask> = Vec::new();
        let mut places: HashMap<(Name, u16), usize> = HashMap::new();
        for ask in self.questions.drain(..) {
            match places.entry((ask.name.clone(), ask.kind)) {
                Entry::Occupied(at) => merged[*at.get()].unicast &= ask.unicast,
                Entry::Vacant(at) => {
                    at.insert(merged.len());
                    merged.push(ask);
                }
            }
        }
        self.questions = merged;
    }

    /// How many questions and answers there are.
    pub(crate) fn len(&self) -> usize {
        self.questions.len() + self.answers.len()
    }

    /// Where the pointers of a name point, among the answers.
    pub(crate) fn pointers<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = &'a Name> {
        let answers = self
            .answers
            .iter()
            .filter(move |record| record.name == *name);
        answers.filter_map(|record| match &record.data {
            Data::Ptr(target) => Some(target),
            _ => None,
        })
    }

    /// Reads a packet. Records of unknown types and classes are passed over, malformed ones make
    /// the packet malformed.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        if payload.len() > MAX_PAYLOAD + 28 {
            return Err(Malformed);
        }
        let mut decoder = BinDecoder::new(payload);
        let mut header = [0; 6];
        for field in &mut header {
            *field = read_u16(&mut decoder)?;
        }
        let [id, flags, questions, answers, authorities, additionals] = header;
        Ok(Self {
            style: Style::default(),
            id,
            response: flags & RESPONSE != 0,
            truncated: flags & TRUNCATED != 0,
            plain: flags & OPCODE_AND_RCODE == 0,
            questions: read_questions(&mut decoder, questions)?,
            answers: read_records(&mut decoder, answers)?,
            authorities: read_records(&mut decoder, authorities)?,
            additionals: read_records(&mut decoder, additionals)?,
        })
    }

    /// Writes a packet; none if it can't be.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let mut payload = Vec::with_capacity(1_500);
        self.write(&mut BinEncoder::new(&mut payload)).ok()?;
        (payload.len() <= MAX_PAYLOAD).then_some(payload)
    }

    fn write(&self, encoder: &mut BinEncoder<'_>) -> Result<(), ProtoError> {
        let mut flags = 0;
        if self.response {
            flags |= RESPONSE | AUTHORITATIVE;
        }
        if self.truncated {
            flags |= TRUNCATED;
        }
        if let Style::Go { flags: exact } = self.style {
            flags = exact;
        }
        encoder.emit_u16(self.id)?;
        encoder.emit_u16(flags)?;
        encoder.emit_u16(self.questions.len() as u16)?;
        let sections = [&self.answers, &self.authorities, &self.additionals];
        for section in sections {
            encoder.emit_u16(section.len() as u16)?;
        }
        for question in &self.questions {
            question.name.0.emit(encoder)?;
            encoder.emit_u16(question.kind)?;
            encoder.emit_u16(with_top_bit(CLASS_IN, question.unicast))?;
        }
        for record in sections.into_iter().flatten() {
            write_record(encoder, record, self.style)?;
        }
        Ok(())
    }
}

/// A packet that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<DecodeError> for Malformed {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

const fn with_top_bit(class: u16, set: bool) -> u16 {
    if set { class | TOP_BIT } else { class }
}

fn read_u16(decoder: &mut BinDecoder<'_>) -> Result<u16, Malformed> {
    Ok(decoder.read_u16()?.unverified())
}

fn read_questions(decoder: &mut BinDecoder<'_>, count: u16) -> Result<Vec<Ask>, Malformed> {
    let mut questions = Vec::with_capacity(usize::from(count).min(8));
    for _ in 0..count {
        let name = Name::read(decoder)?;
        let kind = read_u16(decoder)?;
        let class = read_u16(decoder)?;
        if matches!(class & !TOP_BIT, CLASS_IN | CLASS_ANY) {
            questions.push(Ask {
                name,
                kind,
                unicast: class & TOP_BIT != 0,
            });
        }
    }
    Ok(questions)
}

fn read_records(decoder: &mut BinDecoder<'_>, count: u16) -> Result<Vec<Record>, Malformed> {
    let mut records = Vec::with_capacity(usize::from(count).min(64));
    for _ in 0..count {
        let name = Name::read(decoder)?;
        let kind = read_u16(decoder)?;
        let class = read_u16(decoder)?;
        let ttl = decoder.read_u32()?.unverified();
        let len = usize::from(read_u16(decoder)?);
        let rest = decoder.len().checked_sub(len).ok_or(Malformed)?;
        let data = read_data(decoder, kind, len, rest)?;
        if class & !TOP_BIT == CLASS_IN {
            records.push(Record {
                name,
                flush: class & TOP_BIT != 0,
                // RFC 2181 section 8: the top bit set means 0.
                ttl: i32::try_from(ttl).map_or(0, |_| ttl),
                data,
            });
        }
    }
    Ok(records)
}

/// Reads `len` bytes, so that `rest` are left.
fn read_data(
    decoder: &mut BinDecoder<'_>,
    kind: u16,
    len: usize,
    rest: usize,
) -> Result<Data, Malformed> {
    let data = match kind {
        kind::A => {
            let bytes = decoder.read_slice(len)?.unverified();
            Data::A(<[u8; 4]>::try_from(bytes).map_err(|_| Malformed)?.into())
        }
        kind::AAAA => {
            let bytes = decoder.read_slice(len)?.unverified();
            Data::Aaaa(<[u8; 16]>::try_from(bytes).map_err(|_| Malformed)?.into())
        }
        kind::PTR => Data::Ptr(Name::read(decoder)?),
        kind::SRV => {
            let _priority_and_weight = decoder.read_u32()?;
            let port = read_u16(decoder)?;
            let target = Name::read(decoder)?;
            Data::Srv(Srv { port, target })
        }
        kind::TXT => {
            let bytes = decoder.read_slice(len)?.unverified();
            strings(bytes).try_for_each(|string| string.map(drop))?;
            Data::Txt(bytes.into())
        }
        _ => {
            decoder.read_slice(len)?;
            Data::Other(kind)
        }
    };
    if decoder.len() == rest {
        Ok(data)
    } else {
        Err(Malformed)
    }
}

/// The character strings of a TXT record; an error where a length is false.
pub(crate) fn strings(txt: &[u8]) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    let mut rest = txt;
    std::iter::from_fn(move || {
        let (&len, tail) = rest.split_first()?;
        let Some((string, tail)) = tail.split_at_checked(usize::from(len)) else {
            rest = &[];
            return Some(Err(Malformed));
        };
        rest = tail;
        Some(Ok(string))
    })
}

fn write_record(
    encoder: &mut BinEncoder<'_>,
    record: &Record,
    style: Style,
) -> Result<(), ProtoError> {
    record.name.0.emit(encoder)?;
    encoder.emit_u16(record.data.kind())?;
    encoder.emit_u16(with_top_bit(CLASS_IN, record.flush))?;
    encoder.emit_u32(record.ttl)?;
    let len = encoder.place::<u16>()?;
    match &record.data {
        Data::A(address) => encoder.emit_vec(&address.octets())?,
        Data::Aaaa(address) => encoder.emit_vec(&address.octets())?,
        Data::Ptr(name) => name.0.emit(encoder)?,
        Data::Srv(srv) => {
            // Priority and weight have no meaning here.
            let (priority, weight) = match style {
                Style::DnsSd => (0, 0),
                Style::Go { .. } => (10, 1),
            };
            encoder.emit_u16(priority)?;
            encoder.emit_u16(weight)?;
            encoder.emit_u16(srv.port)?;
            srv.target.0.emit(encoder)?;
        }
        // RFC 6763 section 6.1: an empty TXT record is one empty string.
        Data::Txt(bytes) if bytes.is_empty() && style == Style::DnsSd => encoder.emit(0)?,
        Data::Txt(bytes) => encoder.emit_vec(bytes)?,
        Data::Nsec(kinds) => write_nsec(encoder, &record.name, kinds)?,
        Data::Other(_) => {}
    }
    let written = encoder.len_since_place(&len);
    len.replace(encoder, written as u16)
}

/// The restricted form of RFC 6762 section 6.1: the name itself, and types below 256.
fn write_nsec(encoder: &mut BinEncoder<'_>, name: &Name, kinds: &[u16]) -> Result<(), ProtoError> {
    let mut bitmap = [0_u8; 32];
    let mut len = 0;
    for &kind in kinds.iter().filter(|kind| **kind < 256) {
        let byte = usize::from(kind / 8);
        bitmap[byte] |= 0x80 >> (kind % 8);
        len = len.max(byte + 1);
    }
    name.0
        .emit(&mut encoder.with_name_encoding(NameEncoding::Uncompressed))?;
    encoder.emit(0)?;
    encoder.emit(len as u8)?;
    encoder.emit_vec(&bitmap[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_labels(text.split('.').map(str::as_bytes)).unwrap()
    }

    fn record(owner: &str, data: Data) -> Record {
        Record {
            name: name(owner),
            flush: true,
            ttl: 120,
            data,
        }
    }

    #[test]
    fn a_packet_survives_the_wire() {
        let mut packet = Message::answer();
        packet.id = 7;
        packet.questions = vec![Ask {
            name: name("_Vine._tcp.local"),
            kind: kind::PTR,
            unicast: true,
        }];
        packet.answers = vec![
            record(
                "_vine._tcp.local",
                Data::Ptr(name("A b.c._vine._tcp.local")),
            ),
            record(
                "x._vine._tcp.local",
                Data::Txt(b"\x03a=b\x00".as_slice().into()),
            ),
        ];
        packet.authorities = vec![record(
            "x._vine._tcp.local",
            Data::Srv(Srv {
                port: 80,
                target: name("vine-1.local"),
            }),
        )];
        packet.additionals = vec![
            record("vine-1.local", Data::A([10, 0, 0, 7].into())),
            record("vine-1.local", Data::Aaaa(Ipv6Addr::LOCALHOST)),
        ];
        let bytes = packet.encode().unwrap();
        assert_eq!(Message::decode(&bytes), Ok(packet));
        for end in 0..bytes.len() {
            assert_eq!(
                Message::decode(&bytes[..end]),
                Err(Malformed),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn s18_14_names_are_compressed_in_srv_too() {
        let target = name("vine-0123abcd.local");
        let mut packet = Message::answer();
        packet.additionals = vec![
            record("vine-0123abcd.local", Data::A([1; 4].into())),
            record("x.local", Data::Srv(Srv { port: 1, target })),
        ];
        let len = packet.encode().unwrap().len();
        let header_and_fixed = 12 + 2 * 10;
        assert_eq!(len, header_and_fixed + (14 + 7) + 4 + 4 + 6 + 2);
    }

    #[test]
    fn s6_1_nsec_is_written_as_the_rfc_restricts_it() {
        let mut packet = Message::answer();
        packet.answers = vec![record("x.local", Data::Nsec(vec![kind::TXT, kind::SRV]))];
        let bytes = packet.encode().unwrap();
        let data = b"\x01x\x05local\x00\x00\x05\x00\x00\x80\x00\x40";
        assert!(bytes.ends_with(data), "{bytes:02x?}");
        let read = Message::decode(&bytes).unwrap();
        assert_eq!(read.answers[0].data, Data::Other(kind::NSEC));
    }

    #[test]
    fn s16_names_are_compared_without_ascii_case() {
        use std::collections::HashSet;
        let names = HashSet::from([name("A.B"), name("a.b"), name("a.b.c"), name("ab.c")]);
        assert_eq!(names.len(), 3);
        assert_ne!(name("Ä"), name("ä"), "only ASCII is folded");
        assert!(name("x.Local").is_child_of(&name("local")));
        assert!(!name("x.y.local").is_child_of(&name("local")));
        assert!(!name("local").is_child_of(&name("local")));
    }

    #[test]
    fn hostile_packets_are_malformed() {
        let header = |answers: u16| {
            let mut bytes = vec![0, 0, 0x84, 0, 0, 0];
            bytes.extend(answers.to_be_bytes());
            bytes.extend([0; 4]);
            bytes
        };
        // A name that points at itself, one that points forward, one beyond the end.
        for pointer in [[0xC0, 12], [0xC0, 14], [0xFF, 0xFF]] {
            let mut bytes = header(1);
            bytes.extend(pointer);
            bytes.extend([0, 12, 0, 1, 0, 0, 0, 1, 0, 0]);
            assert_eq!(Message::decode(&bytes), Err(Malformed));
        }
        assert_eq!(Message::decode(&header(u16::MAX)), Err(Malformed));
        assert_eq!(Message::decode(&[0; 20_000]), Err(Malformed));
        // A TXT string longer than its record; an address of three bytes.
        for (kind, data) in [(16, vec![9, b'a']), (1, vec![1, 2, 3])] {
            let mut bytes = header(1);
            bytes.extend([0, 0, kind, 0, 1, 0, 0, 0, 1, 0, data.len() as u8]);
            bytes.extend(data);
            assert_eq!(Message::decode(&bytes), Err(Malformed));
        }
    }
}
