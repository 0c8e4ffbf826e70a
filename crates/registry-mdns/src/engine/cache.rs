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
    links::LinkId,
    timers::Alarm,
    version::{Identity, Version},
};
use crate::{
    codec::{Data, Name, Record, Srv},
    mapping::{Extras, Facts},
};

/// RFC 6762 sections 10.1 and 10.2: what is said to be gone or replaced stays for a second, so
/// that its owner can object.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// How long packets may be late: what was said before a goodbye does not count for so long.
const LATENESS: Duration = Duration::from_secs(10);
const MAX_TOMBS: usize = 4_096;
const MAX_ADDRESSES: usize = 16;
/// A day: no record is believed for longer.
const MAX_TTL: u32 = 86_400;

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
    tombs: Map<Name, Tomb>,
}

/// A name whose pointers are asked for.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) browses: usize,
    pub(super) lookups: SmallVec<[LookupId; 1]>,
    pub(super) instances: HashSet<Name, foldhash::fast::RandomState>,
    /// When the standing question was asked last, and how long after it it is asked again.
    pub(super) asked: Option<Instant>,
    pub(super) interval: Duration,
    pub(super) next: Option<Instant>,
    pub(super) alarm: Alarm,
}

/// How long a record is believed, and how often it was asked for again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    since: Instant,
    ends: Instant,
    /// How many of the refresh questions have been asked.
    asked: u32,
    /// Thousandths of the lifetime that the questions come late (RFC 6762 section 5.2).
    jitter: u32,
}

impl Lease {
    /// What is left of a lifetime when RFC 6762 section 5.2 wants a record to be asked for again.
    const REFRESHES: u32 = 4;

    pub(super) fn new(now: Instant, ttl: u32, jitter: u32) -> Self {
        Self {
            since: now,
            ends: now + Duration::from_secs(ttl.min(MAX_TTL).into()),
            asked: 0,
            jitter,
        }
    }

    /// Takes a newer lease over; a weak one (from a legacy answer) only if it lasts longer.
    pub(super) fn renew(&mut self, newer: Self, weak: bool) {
        if !weak || newer.ends > self.ends {
            *self = newer;
        }
    }

    /// Ends it at `at` at the latest, without being asked for.
    pub(super) fn end_by(&mut self, at: Instant) {
        self.ends = self.ends.min(at);
        self.asked = Self::REFRESHES;
    }

    /// Puts off its end, for what could not be heard of.
    fn ends(&self, not_before: Option<Instant>) -> Instant {
        not_before.map_or(self.ends, |floor| self.ends.max(floor))
    }

    pub(super) fn is_over(&self, now: Instant, not_before: Option<Instant>) -> bool {
        self.ends(not_before) <= now
    }

    fn refresh_at(&self) -> Option<Instant> {
        let thousandths = 800 + 50 * self.asked + self.jitter;
        let refreshes = self.asked < Self::REFRESHES;
        refreshes.then(|| self.since + (self.ends - self.since) * thousandths / 1_000)
    }

    /// Whether it is to be asked for now; counts that it was.
    pub(super) fn take_refresh(&mut self, now: Instant) -> bool {
        let mut due = false;
        while self.refresh_at().is_some_and(|at| at <= now) {
            self.asked += 1;
            due = true;
        }
        due
    }

    /// When to look after it again.
    pub(super) fn next(&self, not_before: Option<Instant>) -> Instant {
        let ends = self.ends(not_before);
        self.refresh_at().map_or(ends, |at| at.min(ends))
    }

    /// What is left, in seconds, if that is more than half of it (RFC 6762 section 7.1).
    pub(super) fn known_ttl(&self, now: Instant) -> Option<u32> {
        let left = self.ends.saturating_duration_since(now);
        (left > (self.ends - self.since) / 2).then_some(left.as_secs() as u32)
    }

    /// When it was granted.
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

/// What is known of the instance of a name.
#[derive(Debug)]
pub(super) struct Instance {
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
    /// How often what is missing was asked for, and when to ask again.
    pub(super) asked: u32,
    pub(super) ask_at: Option<Instant>,
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
    pub(super) fn new() -> Self {
        Self {
            pointers: SmallVec::new(),
            srv: None,
            txt: None,
            chosen: None,
            node: None,
            is_dirty: true,
            asked: 0,
            ask_at: None,
            alarm: Alarm::default(),
        }
    }

    /// Which version SRV and TXT are of, if there are both.
    pub(super) fn version(&self) -> Option<Version> {
        let facts = self.txt.as_ref()?.facts.as_ref()?;
        let (srv, _) = self.srv.as_ref()?;
        Some(Version::new(facts.stamp, Some(srv.target.clone())))
    }

    /// Whether SRV and TXT are there, whatever they say.
    pub(super) fn is_known(&self) -> bool {
        self.srv.is_some() && self.txt.is_some()
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = &Lease> {
        let pointers = self.pointers.iter().map(|(_, lease)| lease);
        let srv = self.srv.as_ref().map(|(_, lease)| lease);
        pointers
            .chain(srv)
            .chain(self.txt.as_ref().map(|txt| &txt.lease))
    }

    /// When to look after it again.
    pub(super) fn next(&self, not_before: Option<Instant>) -> Option<Instant> {
        let leases = self.leases().map(|lease| lease.next(not_before));
        leases.chain(self.ask_at).min()
    }
}

impl Cache {
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
        let tomb = self.tombs.get(instance)?;
        (tomb.until > now && *version <= tomb.version).then(|| Burial {
            until: tomb.until,
            is_own: version.has_holder_of(&tomb.version),
        })
    }

    /// Remembers a goodbye for a while.
    pub(super) fn bury(&mut self, now: Instant, instance: &Name, version: Version) {
        if self.tombs.len() >= MAX_TOMBS {
            self.tombs.retain(|_, tomb| tomb.until > now);
            if self.tombs.len() >= MAX_TOMBS {
                return;
            }
        }
        let tomb = Tomb {
            version,
            until: now + LATENESS,
        };
        self.tombs.insert(instance.clone(), tomb);
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
                let instance = self.instances.get(name)?;
                // Asking for the pointer is how the rest of an instance is refreshed, too.
                let leases = instance.leases().map(|lease| lease.known_ttl(now));
                let ttl = leases.min()??;
                instance.is_known().then(|| Record {
                    name: topic.clone(),
                    flush: false,
                    ttl,
                    data: Data::Ptr(name.clone()),
                })
            })
            .collect()
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
    /// loopback; the present one as long as it is valid.
    pub(super) fn choose(&self, present: Option<IpAddr>) -> Option<&Address> {
        let rank = |known: &&Address| {
            let link_local = match known.address {
                IpAddr::V4(address) => address.is_link_local(),
                IpAddr::V6(address) => address.is_unicast_link_local(),
            };
            let address = known.address;
            (
                Some(address) != present,
                link_local,
                address.is_loopback(),
                address,
                known.link,
            )
        };
        self.addresses.iter().min_by_key(rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    #[test]
    fn s5_2_refreshes_at_80_85_90_and_95_percent() {
        let now = start();
        let seconds = |s| now + Duration::from_secs(s);
        let mut lease = Lease::new(now, 100, 0);
        for due in [80, 85, 90, 95] {
            assert_eq!(lease.next(None), seconds(due));
            assert!(!lease.take_refresh(seconds(due - 1)));
            assert!(lease.take_refresh(seconds(due)));
        }
        assert_eq!(lease.next(None), seconds(100));
        assert!(!lease.is_over(seconds(99), None) && lease.is_over(seconds(100), None));
        assert!(!lease.is_over(seconds(100), Some(seconds(101))));
        assert_eq!(Lease::new(now, 100, 20).next(None), seconds(82));
    }

    #[test]
    fn s6_7_legacy_answers_never_shorten_a_lease() {
        let now = start();
        let mut lease = Lease::new(now, 100, 0);
        lease.renew(Lease::new(now, 10, 0), true);
        assert!(!lease.is_over(now + Duration::from_secs(50), None));
        lease.renew(Lease::new(now + Duration::from_secs(95), 10, 0), true);
        assert!(!lease.is_over(now + Duration::from_secs(104), None));
        lease.renew(Lease::new(now, 10, 0), false);
        assert!(lease.is_over(now + Duration::from_secs(10), None));
    }

    #[test]
    fn s10_2_flushed_addresses_stay_a_second() {
        let now = start();
        let link = (1, super::super::Family::V4);
        let mut host = Host::default();
        let (old, new, other) = ([10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 3]);
        host.hear(old.into(), link, Lease::new(now, 120, 0), false);
        host.hear(other.into(), (2, link.1), Lease::new(now, 120, 0), false);
        let later = now + Duration::from_secs(5);
        host.flush(later, true, link);
        host.hear(new.into(), link, Lease::new(later, 120, 0), false);
        let over = |host: &Host, at| -> Vec<bool> {
            host.addresses
                .iter()
                .map(|known| known.lease.is_over(at, None))
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
        let link = (1, super::super::Family::V4);
        for address in ["fe80::1", "127.0.0.1", "fd00::1", "10.0.0.9"] {
            host.hear(
                address.parse().unwrap(),
                link,
                Lease::new(now, 120, 0),
                false,
            );
        }
        let chosen = host.choose(None).unwrap().address;
        assert_eq!(chosen.to_string(), "10.0.0.9");
        let present = "127.0.0.1".parse().unwrap();
        assert_eq!(host.choose(Some(present)).unwrap().address, present);
    }
}
