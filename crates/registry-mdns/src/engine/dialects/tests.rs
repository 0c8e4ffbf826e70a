//! The two sides as one.

use vine_registry::{Node, Service};

use super::*;
use crate::engine::{LinkKind, Port};

fn remote(version: &str, epoch: u64) -> Remote {
    let service = Service::new("foo", version)
        .with_namespace("vine")
        .with_node(Node::new("n1", "10.0.0.1:80"));
    let service = Arc::new(service);
    let node = Arc::clone(service.nodes.nth(0).unwrap());
    Remote {
        service,
        node,
        epoch,
        changed: epoch,
    }
}

fn both() -> Dialects {
    let manner = Manner {
        domain: None,
        namespace: "vine".into(),
        leads: false,
    };
    Dialects::new(Dialect::Both, Config::default(), manner, 1)
}

fn told(dialects: &mut Dialects, side: Side, event: EngineEvent) -> Vec<EngineEvent> {
    dialects.take(side, event);
    dialects.events.drain(..).collect()
}

#[test]
fn dns_sd_goes_first_and_what_remains_is_told() {
    use Ending::{Lost, Said};
    use EngineEvent::{Changed, Found, Gone};
    let mut both = both();
    let (sd, go) = (remote("by DNS-SD", 5), remote("by Go", 0));
    let mut tell = |side, event| told(&mut both, side, event);
    assert_eq!(tell(Side::Go, Found(go.clone())), [Found(go.clone())]);
    assert_eq!(tell(Side::Sd, Found(sd.clone())), [Changed(sd.clone())]);
    assert_eq!(tell(Side::Go, Changed(remote("other", 0))), []);
    assert_eq!(tell(Side::Go, Found(go.clone())), []);
    assert_eq!(tell(Side::Sd, Gone(sd, Said)), [Changed(go.clone())]);
    assert_eq!(tell(Side::Go, Gone(go.clone(), Lost)), [Gone(go, Lost)]);
    assert!(both.told.is_empty());
}

#[test]
fn the_end_of_a_registration_counts_in_both() {
    use Ending::{Lost, Said};
    use EngineEvent::{Found, Gone};
    let mut both = both();
    let one = remote("v1", 5);
    let mut tell = |side, event| told(&mut both, side, event);
    assert_eq!(tell(Side::Sd, Found(one.clone())), [Found(one.clone())]);
    assert_eq!(tell(Side::Go, Found(one.clone())), []);
    let gone = [Gone(one.clone(), Said)];
    assert_eq!(tell(Side::Sd, Gone(one.clone(), Said)), gone);
    assert_eq!(tell(Side::Go, Gone(one, Lost)), []);
}

#[test]
fn nothing_is_said_in_a_dialect_that_is_not_chosen() {
    let start = tokio::time::Instant::now().into_std();
    for (dialect, is_sd, is_go) in [
        (Dialect::DnsSd, true, false),
        (Dialect::Vine, false, true),
        (Dialect::Both, true, true),
    ] {
        let manner = Manner {
            domain: None,
            namespace: "vine".into(),
            leads: dialect == Dialect::Vine,
        };
        let mut engine = Dialects::new(dialect, Config::default(), manner, 1);
        let interface = Interface {
            id: 1,
            name: "eth0".into(),
            addresses: vec![([10, 0, 0, 1].into(), 24)],
            kind: LinkKind::Wired,
        };
        engine.set_interfaces(start, vec![interface]);
        engine.register(start, 1, &remote("v1", 0).service).unwrap();
        engine.browse(start, Question::All);
        engine.lookup(start, Question::All, Wait::Settled);
        let (mut sd, mut go) = (false, false);
        while let Some(at) = engine
            .poll_timeout()
            .filter(|at| *at < start + Duration::from_secs(10))
        {
            engine.handle_timeout(at);
            while let Some(sent) = engine.poll_transmit() {
                let is_local = sent.payload.windows(7).any(|bytes| bytes == b"\x05local\0");
                sd |= is_local;
                go |= !is_local;
                assert!(is_local || sent.port == Port::Query || sent.payload[2] >= 0x80);
            }
        }
        assert_eq!((sd, go), (is_sd, is_go), "{dialect}");
    }
}
