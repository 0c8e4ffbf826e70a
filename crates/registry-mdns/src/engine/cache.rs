//! What is known of others. Only what was asked for is remembered, so strangers can't fill it.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use super::{
    LookupId, Remote,
    lease::{Expiry, Lease},
    links::LinkId,
    overheard::Heard,
    quota::Charge,
    reconfirm::Trial,
    timers::Alarm,
    version::{Identity, Version},
};
use crate::{
    codec::{Data, Name, Record, Srv, kind},
    mapping::{Digest, Extras, Facts},
};

/// RFC 6762 sections 10.1 and 10.2: what is said to be gone or replaced stays for a second, so
/// that its owner can object.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// How long packets may be late: what was said before a goodbye does not count for so long.
const LATENESS: Duration = Duration::from_secs(10);
const MAX_TOMBS: usize = 4_096;
/// Of holders of one id.
const MAX_TOMBS_OF_ONE: usize = 4;
const MAX_ADDRESSES: usize = 16;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// What is known of others.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// What is asked for, by the name that the pointers stand at.
    pub(super) topics: Map<Name, Topic>,
    pub(super) instances: Map<Name, Instance>,
    pub(super) hosts: Map<Name, Host>,
    pub(super) claims: HashMap<Identity, Claims>,
    pub(super) extras: Extras,
    tombs: Map<Name, SmallVec<[Tomb; 1]>>,
}

/// A name whose pointers are asked for.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) browses: usize,
    /// Whether the type is asked for as well, since not all who answer have subtypes.
    pub(super) is_wide: bool,
    pub(super) lookups: SmallVec<[LookupId; 1]>,
    pub(super) instances: HashSet<Name, foldhash::fast::RandomState>,
    /// When the standing question was asked last, and how long after it it is asked again.
    pub(super) asked: Option<Instant>,
    pub(super) interval: Duration,
    pub(super) next: Option<Instant>,
    /// From when on another's question does as well as the next one.
    pub(super) served_from: Option<Instant>,
    /// What others have asked of it, by link.
    pub(super) heard: SmallVec<[Heard; 2]>,
    pub(super) alarm: Alarm,
}

/// What is known of the instance of a name.
#[derive(Debug)]
pub(super) struct Instance {
    /// What it takes, and whether it has proven itself.
    pub(super) charge: Charge,
    /// The topics whose pointers point here.
    pub(super) pointers: SmallVec<[(Name, Lease); 2]>,
    pub(super) srv: Option<(Srv, Lease)>,
    pub(super) txt: Option<Txt>,
    /// The address that was chosen among those of the host; it is kept as long as it is valid.
    pub(super) chosen: Option<IpAddr>,
    /// The node that it makes up, if it is complete.
    pub(super) node: Option<Claim>,
    /// Whether anything has changed since the node was made up.
    pub(super) is_dirty: bool,
    /// Whether it says by now what there was no room for.
    pub(super) is_behind: bool,
    /// The blob that it waits for.
    pub(super) awaits: Option<Digest>,
    /// How often what is missing was asked for, and when to ask again.
    pub(super) asked: u32,
    pub(super) ask_at: Option<Instant>,
    /// Whether the last that was heard of it came from this very host.
    pub(super) is_near: bool,
    /// Whether it is being asked whether it is still there.
    pub(super) trial: Option<Trial>,
    pub(super) alarm: Alarm,
}

/// A TXT record and what it says; nothing if it can't be understood.
#[derive(Debug)]
pub(super) struct Txt {
    pub(super) bytes: Arc<[u8]>,
    pub(super) facts: Option<Arc<Facts>>,
    pub(super) lease: Lease,
}

/// A complete node, and the version of it.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) identity: Identity,
    pub(super) version: Version,
    pub(super) remote: Remote,
}

/// The instances that claim to be one node, and what was told of it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) instances: SmallVec<[Name; 1]>,
    pub(super) told: Option<Remote>,
}

/// The addresses of a host that nodes are on.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) addresses: Vec<Address>,
    pub(super) users: HashSet<Name, foldhash::fast::RandomState>,
    pub(super) alarm: Alarm,
}

/// An address, as heard on a link.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) address: IpAddr,
    pub(super) link: LinkId,
    pub(super) lease: Lease,
}

#[derive(Debug)]
struct Tomb {
    version: Version,
    until: Instant,
}

/// That something does not count because of a goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Burial {
    pub(super) until: Instant,
    /// Whether it was that of the same holder. Another one, whose clock may be behind, may be alive.
    pub(super) is_own: bool,
}

impl Instance {
    pub(super) fn new(charge: Charge) -> Self {
        Self {
            charge,
            pointers: SmallVec::new(),
            srv: None,
            txt: None,
            chosen: None,
            node: None,
            is_dirty: true,
            is_behind: false,
            awaits: None,
            asked: 0,
            ask_at: None,
            is_near: false,
            trial: None,
            alarm: Alarm::default(),
        }
    }

    /// Which version SRV and TXT are of, if there are both.
    pub(super) fn version(&self) -> Option<Version> {
        let facts = self.txt.as_ref()?.facts.as_ref()?;
        let (srv, _) = self.srv.as_ref()?;
        Some(Version::new(facts.stamp, Some(srv.target.clone())))
    }

    /// How long it need not be told again, in seconds, if it need not be (RFC 6762 section 7.1).
    /// Asking for the pointer is how the rest of an instance is refreshed, too.
    fn known_ttl(&self, now: Instant) -> Option<u32> {
        if self.srv.is_none() || self.txt.is_none() || self.is_behind {
            return None;
        }
        let leases = self.leases().map(|lease| lease.known_ttl(now));
        leases.min().flatten()
    }

    /// Whether it need not be told again.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.known_ttl(now).is_some()
    }

    /// What is known of the pointer from a topic.
    pub(super) fn pointer_mut(&mut self, topic: &Name) -> Option<&mut Lease> {
        let mut pointers = self.pointers.iter_mut();
        let pointer = pointers.find(|(known, _)| known == topic);
        pointer.map(|(_, lease)| lease)
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = &Lease> {
        let pointers = self.pointers.iter().map(|(_, lease)| lease);
        let srv = self.srv.as_ref().map(|(_, lease)| lease);
        pointers
            .chain(srv)
            .chain(self.txt.as_ref().map(|txt| &txt.lease))
    }

    fn leases_mut(&mut self) -> impl Iterator<Item = &mut Lease> {
        let pointers = self.pointers.iter_mut().map(|(_, lease)| lease);
        let srv = self.srv.as_mut().map(|(_, lease)| lease);
        pointers
            .chain(srv)
            .chain(self.txt.as_mut().map(|txt| &mut txt.lease))
    }

    /// When to look after it again.
    pub(super) fn next(&self, expiry: &Expiry) -> Option<Instant> {
        let leases = self.leases().filter_map(|lease| lease.next(expiry));
        let trial = self.trial.as_ref().map(Trial::next);
        leases.chain(self.ask_at).chain(trial).min()
    }
}

impl Cache {
    /// Time has gone by that the clock did not count.
    pub(super) fn age(&mut self, by: Duration) {
        for lease in self.instances.values_mut().flat_map(Instance::leases_mut) {
            lease.age(by);
        }
        let hosts = self.hosts.values_mut();
        for known in hosts.flat_map(|host| &mut host.addresses) {
            known.lease.age(by);
        }
    }

    /// The epoch of who holds an instance.
    pub(super) fn epoch(&self, instance: &Name) -> Option<u64> {
        let txt = self.instances.get(instance)?.txt.as_ref()?;
        txt.facts.as_ref().map(|facts| facts.stamp.epoch)
    }

    /// Whether this was said before a goodbye, and only now arrived: until when it does not count.
    pub(super) fn buried(
        &self,
        now: Instant,
        instance: &Name,
        version: &Version,
    ) -> Option<Burial> {
        let tombs = self.tombs.get(instance)?.iter();
        let later = tombs.filter(|tomb| tomb.until > now && *version <= tomb.version);
        let burials = later.map(|tomb| Burial {
            until: tomb.until,
            is_own: version.has_holder_of(&tomb.version),
        });
        burials.max_by_key(|burial| (burial.is_own, burial.until))
    }

    /// Remembers a goodbye for a while; of one holder, the last.
    pub(super) fn bury(&mut self, now: Instant, instance: &Name, version: Version) {
        if self.tombs.len() >= MAX_TOMBS {
            self.tombs
                .retain(|_, tombs| tombs.iter().any(|tomb| tomb.until > now));
            if self.tombs.len() >= MAX_TOMBS {
                return;
            }
        }
        let tombs = self.tombs.entry(instance.clone()).or_default();
        tombs.retain(|tomb| {
            tomb.until > now && (!version.has_holder_of(&tomb.version) || tomb.version >= version)
        });
        let is_known = |tomb: &Tomb| version.has_holder_of(&tomb.version);
        if tombs.len() < MAX_TOMBS_OF_ONE && !tombs.iter().any(is_known) {
            tombs.push(Tomb {
                version,
                until: now + LATENESS,
            });
        }
    }

    /// The pointers of a topic that need not be told again (RFC 6762 section 7.1).
    pub(super) fn known_answers(&self, now: Instant, topic: &Name) -> Vec<Record> {
        let instances = self
            .topics
            .get(topic)
            .into_iter()
            .flat_map(|topic| &topic.instances);
        instances
            .filter_map(|name| {
                Some(Record {
                    name: topic.clone(),
                    flush: false,
                    ttl: self.instances.get(name)?.known_ttl(now)?,
                    data: Data::Ptr(name.clone()),
                })
            })
            .collect()
    }
}

impl Address {
    /// The type of its record.
    pub(super) fn kind(&self) -> u16 {
        match self.address {
            IpAddr::V4(_) => kind::A,
            IpAddr::V6(_) => kind::AAAA,
        }
    }
}

impl Host {
    /// Takes an address in that was heard on a link.
    pub(super) fn hear(&mut self, address: IpAddr, link: LinkId, lease: Lease, weak: bool) -> bool {
        let known = |known: &&mut Address| known.address == address && known.link == link;
        if let Some(known) = self.addresses.iter_mut().find(known) {
            known.lease.renew(lease, weak);
            return false;
        }
        let room = self.addresses.len() < MAX_ADDRESSES;
        if room {
            self.addresses.push(Address {
                address,
                link,
                lease,
            });
        }
        room
    }

    /// The cache flush bit (RFC 6762 section 10.2): other addresses of the family on this link
    /// that were not heard within the last second go in a second.
    pub(super) fn flush(&mut self, now: Instant, v4: bool, link: LinkId) {
        for known in &mut self.addresses {
            if known.link == link
                && known.address.is_ipv4() == v4
                && now.saturating_duration_since(known.lease.since()) > GRACE
            {
                known.lease.end_by(now + GRACE);
            }
        }
    }

    /// The best address: routable before link-local, IPv4 before IPv6, of other hosts before
    /// loopback; the present one as long as it is valid, and link-local only for want of better.
    /// Where it is said which are `own`, no others.
    pub(super) fn choose(
        &self,
        present: Option<IpAddr>,
        own: Option<&[IpAddr]>,
    ) -> Option<&Address> {
        let rank = |known: &&Address| {
            let link_local = match known.address {
                IpAddr::V4(address) => address.is_link_local(),
                IpAddr::V6(address) => address.is_unicast_link_local(),
            };
            let address = known.address;
            (
                link_local,
                Some(address) != present,
                address.is_loopback(),
                address,
                known.link,
            )
        };
        let is_own = |known: &&Address| own.is_none_or(|own| own.contains(&known.address));
        self.addresses.iter().filter(is_own).min_by_key(rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Family, lease::Source};

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn lease(now: Instant) -> Lease {
        let link = (1, Family::V4);
        Lease::new(now, 120, 0, Source { link, host: 7 })
    }

    #[test]
    fn s10_2_flushed_addresses_stay_a_second() {
        let now = start();
        let link = (1, Family::V4);
        let mut host = Host::default();
        let (old, new, other) = ([10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]);
        host.hear(old.into(), link, lease(now), false);
        host.hear(other.into(), (2, link.1), lease(now), false);
        let later = now + Duration::from_secs(5);
        host.flush(later, true, link);
        host.hear(new.into(), link, lease(later), false);
        let over = |host: &Host, at| -> Vec<bool> {
            host.addresses
                .iter()
                .map(|known| known.lease.is_over(at, &Expiry::default()))
                .collect()
        };
        assert_eq!(over(&host, later + GRACE / 2), [false, false, false]);
        assert_eq!(over(&host, later + GRACE), [true, false, false]);
        // What was heard within the last second is another answer of the same host.
        host.flush(later + GRACE / 2, true, link);
        assert!(!over(&host, later + 2 * GRACE)[2]);
    }

    #[test]
    fn an_address_that_is_in_use_is_kept() {
        let now = start();
        let mut host = Host::default();
        let link = (1, Family::V4);
        for address in ["fe80::1", "127.0.0.1", "fd00::1", "10.0.0.9"] {
            host.hear(address.parse().unwrap(), link, lease(now), false);
        }
        let chosen = host.choose(None, None).unwrap().address;
        assert_eq!(chosen.to_string(), "10.0.0.9");
        let present = "127.0.0.1".parse().unwrap();
        assert_eq!(host.choose(Some(present), None).unwrap().address, present);
        let present = "fe80::1".parse().unwrap();
        assert_eq!(host.choose(Some(present), None).unwrap().address, chosen);
    }
}
