//! What this engine has registered, as records.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use vine_registry::{Error, Node, Result, Service, address::HostPort};

use super::{
    Interface, NodeKey, Question,
    blobs::held::{ChunkKey, Holdings},
    packing::COMFORTABLE,
    prober::{Schedule, Updates},
    timers::Alarm,
    version::{Identity, Version},
};
use crate::{
    codec::{Data, Name, Record, Srv, kind},
    mapping::{Digest, Encoded, Names, Stamp, Writer},
};

/// RFC 6762 section 10: what names no host may be believed for long.
pub(super) const TYPES_TTL: u32 = 4_500;
/// What is known by its digest never changes.
const CHUNK_TTL: u32 = 4_500;
/// The most that a TXT record of a node has, but for names that are themselves that long.
const MAX_INLINE: usize = 1_300;

/// A host name of this engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct HostKey(u32);

/// Records that are sent and counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Answer {
    /// The PTR that lists the type of all nodes.
    Types,
    /// The PTR of a node at the type.
    Listed(NodeKey),
    /// The PTR of a node at its service's subtype.
    Named(NodeKey),
    /// SRV and TXT of a node. Always together: the TXT says which of two SRV is the newer one.
    Instance(NodeKey),
    /// The addresses of a host.
    Host(HostKey),
    /// The proof that a node has no other records (RFC 6762 section 6.1).
    OnlyInstance(NodeKey),
    /// The proof that a host has no other records.
    OnlyHost(HostKey),
    /// A piece of what does not fit into a TXT record.
    Chunk(ChunkKey),
}

/// One registered node.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) identity: Identity,
    pub(super) service: Arc<Service>,
    pub(super) node: Arc<Node>,
    pub(super) stamp: Stamp,
    pub(super) instance: Name,
    pub(super) subtype: Name,
    pub(super) host: HostKey,
    pub(super) port: u16,
    pub(super) txt: Arc<[u8]>,
    /// The blob that its TXT record names.
    pub(super) blob: Option<Digest>,
    /// The lifetime of its records.
    pub(super) ttl: u32,
    pub(super) expires: Option<Instant>,
    /// Whether probing is over, so that the flush bit may be set.
    pub(super) established: bool,
    pub(super) schedule: Schedule,
    pub(super) updates: Updates,
    pub(super) alarm: Alarm,
}

/// A host name, and what it stands for.
#[derive(Debug)]
struct Host {
    name: Name,
    host: Box<str>,
    /// None: whatever addresses the interface has.
    address: Option<IpAddr>,
    users: usize,
    established: bool,
}

/// What a name of this engine belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Instance(NodeKey),
    Host(HostKey),
}

/// A node that is about to be registered.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) identity: Identity,
    pub(super) node: Arc<Node>,
    pub(super) instance: Name,
    pub(super) subtype: Name,
    pub(super) target: Name,
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

impl Draft {
    /// How long a TXT record may be for a packet with it and all that goes with it: header,
    /// question, two pointers, SRV and two addresses.
    fn room(&self) -> usize {
        const FIXED: usize = 12 + 4 + (10 + 18) + 12 + 18 + 12 + 16 + 28;
        let names = self.subtype.len() + self.instance.len() + self.target.len();
        (COMFORTABLE - FIXED - names).min(MAX_INLINE)
    }
}

/// All that is registered.
#[derive(Debug)]
pub(super) struct Registrations {
    seed: u64,
    nodes: HashMap<NodeKey, Own, foldhash::fast::RandomState>,
    subtypes: HashMap<Name, Vec<NodeKey>, foldhash::fast::RandomState>,
    owners: HashMap<Name, Owner, foldhash::fast::RandomState>,
    hosts: HashMap<HostKey, Host>,
    pub(super) blobs: Holdings,
    next_key: u64,
    next_host: u32,
}

impl Registrations {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: HashMap::default(),
            subtypes: HashMap::default(),
            owners: HashMap::default(),
            hosts: HashMap::new(),
            blobs: Holdings::default(),
            next_key: 0,
            next_host: 0,
        }
    }

    /// Works out the names of a node's records.
    ///
    /// # Errors
    /// [`Error::InvalidService`] when its address does not parse.
    pub(super) fn draft(
        &self,
        names: &Names,
        service: &Service,
        node: &Arc<Node>,
    ) -> Result<Draft> {
        let address = HostPort::parse(&node.address).ok_or_else(|| {
            Error::invalid_service(
                "node address",
                format!("{:?} is not host:port", node.address),
            )
        })?;
        let identity = Identity::new(&service.namespace, &service.name, &node.id);
        let named = |name: Option<Name>| {
            name.ok_or_else(|| Error::invalid_service("node", "can't be named in DNS"))
        };
        Ok(Draft {
            instance: named(names.instance(&service.namespace, &service.name, &node.id))?,
            subtype: named(names.subtype(&service.name))?,
            target: named(names.target(self.seed, address.host))?,
            identity,
            node: Arc::clone(node),
            host: address.host.into(),
            port: address.port,
        })
    }

    pub(super) fn get(&self, key: NodeKey) -> Option<&Own> {
        self.nodes.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: NodeKey) -> Option<&mut Own> {
        self.nodes.get_mut(&key)
    }

    pub(super) fn keys(&self) -> Vec<NodeKey> {
        let mut keys: Vec<_> = self.nodes.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What a name belongs to, if it is one of this engine's own.
    pub(super) fn owner(&self, name: &Name) -> Option<Owner> {
        self.owners.get(name).copied()
    }

    /// The registration of the node that stands at this name.
    pub(super) fn at(&self, instance: &Name) -> Option<(NodeKey, &Own)> {
        match self.owners.get(instance)? {
            Owner::Instance(key) => Some((*key, self.nodes.get(key)?)),
            Owner::Host(_) => None,
        }
    }

    /// Whether this is a host name of this engine, so that what points at it is its own.
    pub(super) fn is_own_target(&self, target: &Name) -> bool {
        matches!(self.owners.get(target), Some(Owner::Host(_)))
    }

    /// The nodes at a subtype.
    pub(super) fn named(&self, subtype: &Name) -> &[NodeKey] {
        self.subtypes.get(subtype).map_or(&[], Vec::as_slice)
    }

    /// Whether a node is registered that answers the question.
    pub(super) fn answers(&self, names: &Names, question: &Question) -> bool {
        match question {
            Question::All => !self.nodes.is_empty(),
            Question::Service { namespace, name } => {
                let keys = names.subtype(name);
                let keys = keys.as_ref().map_or(&[][..], |subtype| self.named(subtype));
                let mut nodes = keys.iter().filter_map(|key| self.nodes.get(key));
                nodes.any(|own| own.identity.is_of(namespace, name))
            }
        }
    }

    /// How this registration stands against another of the same id.
    pub(super) fn version(&self, own: &Own) -> Version {
        let target = self.hosts.get(&own.host).map(|host| host.name.clone());
        Version::new(own.stamp, target)
    }

    /// Puts a node in its place: a new one, or the one with its id, whose key is kept.
    pub(super) fn insert(
        &mut self,
        draft: Draft,
        make: impl FnOnce(Draft, HostKey) -> Own,
    ) -> NodeKey {
        let key = match self.owners.get(&draft.instance) {
            Some(Owner::Instance(key)) => *key,
            _ => {
                self.next_key += 1;
                NodeKey(self.next_key)
            }
        };
        let host = self.use_host(&draft);
        let own = make(draft, host);
        self.owners
            .insert(own.instance.clone(), Owner::Instance(key));
        let named = self.subtypes.entry(own.subtype.clone()).or_default();
        if !named.contains(&key) {
            named.push(key);
        }
        if let Some(old) = self.nodes.insert(key, own) {
            self.leave(&old);
        }
        key
    }

    pub(super) fn remove(&mut self, key: NodeKey) -> Option<Own> {
        let own = self.nodes.remove(&key)?;
        self.owners.remove(&own.instance);
        if let Some(named) = self.subtypes.get_mut(&own.subtype) {
            named.retain(|other| *other != key);
            if named.is_empty() {
                self.subtypes.remove(&own.subtype);
            }
        }
        self.leave(&own);
        Some(own)
    }

    /// Probing of a node is over: its records are unique.
    pub(super) fn establish(&mut self, key: NodeKey) {
        if let Some(own) = self.nodes.get_mut(&key) {
            own.established = true;
            if let Some(host) = self.hosts.get_mut(&own.host) {
                host.established = true;
            }
        }
    }

    fn use_host(&mut self, draft: &Draft) -> HostKey {
        if let Some(Owner::Host(key)) = self.owners.get(&draft.target)
            && let Some(host) = self.hosts.get_mut(key)
            && *host.host == *draft.host
        {
            host.users += 1;
            return *key;
        }
        self.next_host += 1;
        let key = HostKey(self.next_host);
        let address = draft
            .host
            .parse()
            .ok()
            .filter(|a: &IpAddr| !a.is_unspecified());
        self.owners.insert(draft.target.clone(), Owner::Host(key));
        let host = Host {
            name: draft.target.clone(),
            host: draft.host.clone(),
            address,
            users: 1,
            established: false,
        };
        self.hosts.insert(key, host);
        key
    }

    /// What a registration used that is no more. Host names are kept when nobody uses them: late
    /// packets that point at them are still this engine's own.
    fn leave(&mut self, own: &Own) {
        if let Some(host) = self.hosts.get_mut(&own.host) {
            host.users -= 1;
        }
        if let Some(blob) = own.blob {
            self.blobs.release(blob);
        }
    }

    pub(super) fn host_name(&self, host: HostKey) -> Option<&Name> {
        self.hosts.get(&host).map(|host| &host.name)
    }

    /// The host that has this name.
    pub(super) fn host_at(&self, target: &Name) -> Option<HostKey> {
        match self.owners.get(target)? {
            Owner::Host(key) => Some(*key),
            Owner::Instance(_) => None,
        }
    }

    /// Adds the records of an answer, as they are on an interface.
    pub(super) fn records(
        &self,
        names: &Names,
        answer: Answer,
        interface: Option<&Interface>,
        into: &mut Vec<Record>,
    ) {
        match answer {
            Answer::Types => into.push(Record {
                name: names.types.clone(),
                flush: false,
                ttl: TYPES_TTL,
                data: Data::Ptr(names.service_type.clone()),
            }),
            Answer::Listed(key) => {
                into.extend(self.get(key).map(|own| own.pointer(&names.service_type)));
            }
            Answer::Named(key) => into.extend(self.get(key).map(|own| own.pointer(&own.subtype))),
            Answer::Instance(key) => {
                if let Some(own) = self.get(key) {
                    into.extend(self.instance(own));
                }
            }
            Answer::Host(key) => self.host_records(key, interface, into),
            Answer::OnlyInstance(key) => into.extend(self.get(key).map(|own| Record {
                name: own.instance.clone(),
                flush: own.established,
                ttl: own.ttl,
                data: Data::Nsec(vec![kind::TXT, kind::SRV]),
            })),
            Answer::OnlyHost(key) => into.extend(self.only_host(key, interface)),
            Answer::Chunk(key) => into.extend(self.chunk(key)),
        }
    }

    /// SRV and TXT.
    pub(super) fn instance(&self, own: &Own) -> Vec<Record> {
        let Some(host) = self.hosts.get(&own.host) else {
            return Vec::new();
        };
        let data = [
            Data::Srv(Srv {
                port: own.port,
                target: host.name.clone(),
            }),
            Data::Txt(Arc::clone(&own.txt)),
        ];
        data.map(|data| Record {
            name: own.instance.clone(),
            flush: own.established,
            ttl: own.ttl,
            data,
        })
        .into()
    }

    fn host_records(&self, key: HostKey, interface: Option<&Interface>, into: &mut Vec<Record>) {
        let Some(host) = self.hosts.get(&key).filter(|host| host.users > 0) else {
            return;
        };
        into.extend(host.addresses(interface).into_iter().map(|address| Record {
            name: host.name.clone(),
            flush: host.established,
            ttl: 120,
            data: match address {
                IpAddr::V4(address) => Data::A(address),
                IpAddr::V6(address) => Data::Aaaa(address),
            },
        }));
    }

    fn chunk(&self, key: ChunkKey) -> Option<Record> {
        let host = self.hosts.get(&key.host())?;
        let (name, txt) = self.blobs.record(key, &host.name)?;
        Some(Record {
            name,
            flush: true,
            ttl: CHUNK_TTL,
            data: Data::Txt(txt),
        })
    }

    fn only_host(&self, key: HostKey, interface: Option<&Interface>) -> Option<Record> {
        let host = self.hosts.get(&key).filter(|host| host.users > 0)?;
        let addresses = host.addresses(interface);
        let mut kinds = Vec::new();
        if addresses.iter().any(IpAddr::is_ipv4) {
            kinds.push(kind::A);
        }
        if addresses.iter().any(IpAddr::is_ipv6) {
            kinds.push(kind::AAAA);
        }
        Some(Record {
            name: host.name.clone(),
            flush: host.established,
            ttl: 120,
            data: Data::Nsec(kinds),
        })
    }

    /// Whether a host has addresses of a type on an interface.
    pub(super) fn has_address(
        &self,
        key: HostKey,
        kind: u16,
        interface: Option<&Interface>,
    ) -> bool {
        let Some(host) = self.hosts.get(&key).filter(|host| host.users > 0) else {
            return false;
        };
        let addresses = host.addresses(interface);
        match kind {
            kind::A => addresses.iter().any(IpAddr::is_ipv4),
            kind::AAAA => addresses.iter().any(IpAddr::is_ipv6),
            kind::ANY => !addresses.is_empty(),
            _ => false,
        }
    }
}

impl Own {
    fn pointer(&self, owner: &Name) -> Record {
        Record {
            name: owner.clone(),
            flush: false,
            ttl: self.ttl,
            data: Data::Ptr(self.instance.clone()),
        }
    }

    /// The TXT record of a node, such that all its records fit into one packet if that can be, and
    /// `spare` bytes more.
    ///
    /// # Errors
    /// As [`Writer::encode`].
    pub(super) fn txt(
        writer: &mut Writer,
        service: &Service,
        draft: &Draft,
        stamp: Stamp,
        spare: usize,
    ) -> Result<Encoded> {
        let address = Some(&*draft.node.address).filter(|_| !is_unspecified(&draft.host));
        let room = draft.room().saturating_sub(spare);
        writer.encode(service, &draft.node, address, stamp, room)
    }
}

/// Whether a node is at whatever addresses its host has.
pub(super) fn is_unspecified(host: &str) -> bool {
    host.parse().is_ok_and(|a: IpAddr| a.is_unspecified())
}

/// The lifetime of the records of a registration.
pub(super) fn record_ttl(ttl: Option<Duration>, default: Duration) -> u32 {
    let ttl = ttl.unwrap_or(default).as_secs_f64().ceil();
    ttl.clamp(10.0, 4_500.0) as u32
}

impl Host {
    /// Link-local IPv6 addresses only where there is nothing else.
    fn addresses(&self, interface: Option<&Interface>) -> Vec<IpAddr> {
        if let Some(address) = self.address {
            return vec![address];
        }
        let all = interface.map_or(&[][..], |interface| &interface.addresses);
        let all: Vec<IpAddr> = all.iter().map(|(address, _)| *address).collect();
        let reachable = |address: &&IpAddr| match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        };
        let best: Vec<IpAddr> = all.iter().filter(reachable).copied().collect();
        if best.is_empty() { all } else { best }
    }
}

/// A goodbye (RFC 6762 section 10.1) that has been said, and is said again in case it was lost.
#[derive(Debug)]
pub(super) struct Goodbye {
    pub(super) at: Instant,
    pub(super) instance: Name,
    pub(super) records: Vec<Record>,
}
