//! The property that matters most: once quiet, what each host was told is what there is.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use vine_registry::{Node, Service};

use super::net::{Faults, Net, interface, ms, of, secs};
use crate::engine::{EngineEvent, LinkKind, NodeKey, Question};

const HOSTS: usize = 4;

/// Something that somebody does.
#[derive(Clone, Debug)]
enum Op {
    Register {
        host: usize,
        service: u8,
        id: u8,
        version: u8,
        metadata: u8,
        ttl: Option<u8>,
    },
    Deregister {
        host: usize,
        which: usize,
    },
    Renew {
        host: usize,
        which: usize,
    },
    Wait(u16),
    Unplug {
        host: usize,
        seconds: u8,
    },
    /// Its interface goes, and comes again.
    Down {
        host: usize,
        seconds: u8,
    },
    Sleep {
        host: usize,
        seconds: u8,
    },
    /// Killed without a goodbye. The next one registers one of its nodes again, or none.
    Kill {
        host: usize,
        again: Option<usize>,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let host = 0..HOSTS;
    prop_oneof![
        6 => (host.clone(), 0..3_u8, 0..4_u8, 0..2_u8, 0..3_u8, proptest::option::weighted(0.2, 1..20_u8))
            .prop_map(|(host, service, id, version, metadata, ttl)| Op::Register {
                host, service, id, version, metadata, ttl,
            }),
        3 => (host.clone(), any::<usize>()).prop_map(|(host, which)| Op::Deregister { host, which }),
        1 => (host.clone(), any::<usize>()).prop_map(|(host, which)| Op::Renew { host, which }),
        6 => (0..4_000_u16).prop_map(Op::Wait),
        1 => (host.clone(), 1..200_u8).prop_map(|(host, seconds)| Op::Unplug { host, seconds }),
        1 => (host.clone(), 0..200_u8).prop_map(|(host, seconds)| Op::Down { host, seconds }),
        1 => (host.clone(), 1..200_u8).prop_map(|(host, seconds)| Op::Sleep { host, seconds }),
        1 => (host, any::<Option<usize>>()).prop_map(|(host, again)| Op::Kill { host, again }),
    ]
}

/// What the service has in common; some of it so long that it is a blob.
fn mark(metadata: u8) -> String {
    let mut random = fastrand::Rng::with_seed(metadata.into());
    let len = if metadata == 2 { 3_000 } else { 1 };
    std::iter::repeat_with(|| random.alphanumeric())
        .take(len)
        .collect()
}

/// What a host holds, by key.
type Held = BTreeMap<NodeKey, (String, Arc<Service>)>;

struct World {
    net: Net,
    held: Vec<Held>,
    told: Vec<usize>,
}

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut net = Net::with_hosts(seed, HOSTS);
        net.faults = faults;
        // Clocks differ.
        for (host, skew) in [(1, 70_000), (2, -3_000)] {
            net.hosts[host].skew = skew;
        }
        let mut world = Self {
            net,
            held: vec![Held::new(); HOSTS],
            told: vec![0; HOSTS],
        };
        (0..HOSTS).for_each(|host| world.browse(host));
        world
    }

    fn browse(&mut self, host: usize) {
        match host {
            0 | 1 => self.net.browse(host, Question::All),
            2 => {
                self.net.browse(host, of("service-0"));
                self.net.browse(host, of("service-1"));
            }
            _ => {}
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Register {
                host,
                service,
                id,
                version,
                metadata,
                ttl,
            } => {
                let node = Node::new(
                    format!("id-{id}"),
                    format!("10.0.0.{host}:{}", 80 + metadata),
                )
                .with_metadata([("m", metadata.to_string())]);
                let mut service = Service::new(format!("service-{service}"), format!("v{version}"))
                    .with_namespace("vine")
                    .with_metadata([("s", mark(metadata))])
                    .with_node(node);
                service.ttl = ttl.map(|ttl| secs(ttl.into()));
                let identity = format!("vine/{}/id-{id}", service.name);
                for registered in self.net.register_all(host, service.clone()) {
                    self.held[host].insert(
                        registered.key,
                        (identity.clone(), Arc::new(service.clone())),
                    );
                }
            }
            Op::Deregister { host, which } => {
                if let Some(key) = self.pick(host, which) {
                    self.net.deregister(host, key);
                    self.held[host].remove(&key);
                }
            }
            Op::Renew { host, which } => {
                if let Some(key) = self.pick(host, which) {
                    let now = self.net.now;
                    assert!(self.net.hosts[host].engine.renew(now, key));
                }
            }
            Op::Wait(wait) => self.net.run(ms(wait.into())),
            Op::Unplug { host, seconds } => {
                self.net.hosts[host].is_connected = false;
                self.net.run(secs(seconds.into()));
                self.net.hosts[host].is_connected = true;
            }
            Op::Down { host, seconds } => {
                self.net.set_interfaces(host, Vec::new());
                self.net.run(secs(seconds.into()));
                let address = self.net.hosts[host].address;
                let up = vec![interface(address, LinkKind::Wired)];
                self.net.set_interfaces(host, up);
            }
            Op::Sleep { host, seconds } => {
                let now = self.net.now;
                self.net.hosts[host].engine.wake(now, secs(seconds.into()));
                self.net.settle(host);
            }
            Op::Kill { host, again } => self.kill(host, again),
        }
        self.listen();
    }

    fn kill(&mut self, host: usize, again: Option<usize>) {
        let again = again.and_then(|which| self.pick(host, which));
        let again = again.map(|key| self.held[host][&key].clone());
        self.alternates(host);
        self.held[host].clear();
        self.told[host] = 0;
        self.net.restart(host);
        self.browse(host);
        if let Some((identity, service)) = again {
            self.net.run(ms(1));
            for registered in self.net.register_all(host, (*service).clone()) {
                let held = (identity.clone(), Arc::clone(&service));
                self.held[host].insert(registered.key, held);
            }
        }
    }

    /// An outage begins once and ends once.
    fn alternates(&self, host: usize) {
        let mut is_stale = false;
        for event in &self.net.hosts[host].events {
            match event {
                EngineEvent::Stale => assert!(!std::mem::replace(&mut is_stale, true)),
                EngineEvent::Live => assert!(std::mem::replace(&mut is_stale, false)),
                _ => {}
            }
        }
        assert!(!is_stale, "no outage is left");
    }

    fn pick(&mut self, host: usize, which: usize) -> Option<NodeKey> {
        self.listen();
        let keys: Vec<_> = self.held[host].keys().copied().collect();
        (!keys.is_empty()).then(|| keys[which % keys.len()])
    }

    /// Registrations end by themselves, too.
    fn listen(&mut self) {
        for host in 0..HOSTS {
            let events = &self.net.hosts[host].events[self.told[host]..];
            for event in events {
                if let EngineEvent::Replaced(key) | EngineEvent::Expired(key) = event {
                    assert!(self.held[host].remove(key).is_some());
                }
            }
            self.told[host] = self.net.hosts[host].events.len();
        }
    }

    fn check(&mut self) {
        self.listen();
        (0..HOSTS).for_each(|host| self.alternates(host));
        let mut truth = BTreeMap::new();
        for (host, held) in self.held.iter().enumerate() {
            for (identity, service) in held.values() {
                let other = truth.insert(identity.clone(), (host, Arc::clone(service)));
                assert!(other.is_none(), "two hold {identity}");
            }
        }
        for (host, prefix) in [
            (0, "vine/"),
            (1, "vine/"),
            (2, "vine/service-"),
            (3, "none"),
        ] {
            let expected: BTreeMap<_, _> = truth
                .iter()
                .filter(|(identity, (holder, _))| {
                    let asked = host != 2 || !identity.contains("service-2");
                    *holder != host && asked && identity.starts_with(prefix)
                })
                .map(|(identity, (_, service))| (identity.clone(), (**service).clone()))
                .collect();
            let nodes = &self.net.hosts[host].nodes;
            let told: BTreeMap<_, _> = nodes
                .iter()
                .map(|(identity, remote)| (identity.clone(), (*remote.service).clone()))
                .collect();
            assert_eq!(told, expected, "on host {host}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn once_quiet_everybody_knows_the_truth(
        seed in any::<u64>(),
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let faults = Faults { loss: 20, doubling: 10, delay: ms(300) };
        let mut world = World::new(seed, faults);
        for op in &ops {
            world.apply(op);
        }
        // Longer than the longest interval between two standing questions.
        world.net.run(secs(120));
        world.net.faults = Faults::default();
        world.net.run(secs(3_700));
        world.check();
    }

    #[test]
    fn without_loss_the_truth_is_known_within_seconds(
        seed in any::<u64>(),
        ops in proptest::collection::vec(op(), 1..40),
    ) {
        let faults = Faults { loss: 0, doubling: 10, delay: ms(300) };
        let mut world = World::new(seed, faults);
        let is_outage = |op: &&Op| {
            matches!(
                op,
                Op::Unplug { .. } | Op::Down { .. } | Op::Sleep { .. } | Op::Kill { .. }
            )
        };
        for op in ops.iter().filter(|op| !is_outage(op)) {
            world.apply(op);
        }
        world.net.run(secs(90));
        world.check();
    }
}

/// A holder whose clock is ahead leaves before others register its id, and what it said comes late,
/// to some before its goodbye and to some after it.
#[test]
fn who_left_with_a_clock_ahead_leaves_no_trace() {
    let register = |host, version| Op::Register {
        host,
        service: 1,
        id: 3,
        version,
        metadata: 0,
        ttl: None,
    };
    for seed in 0..500 {
        let faults = Faults {
            loss: 0,
            doubling: 10,
            delay: ms(300),
        };
        let mut world = World::new(seed, faults);
        world.apply(&register(1, 0));
        world.apply(&Op::Deregister { host: 1, which: 0 });
        world.apply(&Op::Wait(28));
        world.apply(&register(2, 0));
        world.apply(&register(3, 1));
        world.net.run(secs(90));
        world.check();
    }
}
