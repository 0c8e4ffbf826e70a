//! What becomes of a key, whatever the cluster answers and whatever is asked meanwhile.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, advance};
use vine_registry::{Error, Node, NodeRef, Service};

use super::{Call, Occupant, Put, REMEMBER, State, Task, Written};
use crate::{Layout, client::Failure, keys::Keys, own::batch::Batch, value};

/// A state whose only call so far registers `n`, with a lease.
struct Fixture {
    state: State,
    service: Arc<Service>,
}

fn service(port: u16) -> Arc<Service> {
    let service = Service::new("s", "v1").with_namespace("vine");
    Arc::new(service.with_node(Node::new("n", format!("10.0.0.7:{port}"))))
}

fn call(service: &Arc<Service>, epoch: u64, ttl: Option<Duration>) -> Call {
    let node = Arc::clone(service.nodes.nth(0).unwrap());
    let value = value::encode(service, &node, epoch, epoch).unwrap();
    Call {
        service: Arc::clone(service),
        namespace: "vine".into(),
        ttl,
        source: Arc::clone(service),
        nodes: vec![Written {
            key: Keys(Layout::Vine)
                .node("vine", &service.name, &node.id)
                .into(),
            value: value.into(),
            node,
        }],
        epoch,
        seconds: 30,
    }
}

/// The outcome, without waiting for it.
async fn outcome(batch: &Batch) -> Option<Result<(), Error>> {
    match batch.wait("test", Duration::ZERO).await {
        Err(Error::Timeout { .. }) => None,
        other => Some(other),
    }
}

impl Fixture {
    fn new() -> (Self, Arc<Batch>) {
        let service = service(80);
        let mut state = State::new();
        let batch = state
            .register(call(&service, 100, None), Instant::now())
            .unwrap();
        assert!(
            state.next(Instant::now()).is_none(),
            "there is no lease yet"
        );
        let lease = state.leases.get_mut(&30).unwrap();
        let id = lease.id;
        state.own_leases.insert(id);
        state.granted(30, id, Instant::now());
        (Self { state, service }, batch)
    }

    fn task(&mut self) -> (usize, u64, Task) {
        self.state.next(Instant::now()).expect("something to do")
    }

    fn idle(&mut self) {
        assert!(self.state.next(Instant::now()).is_none(), "nothing to do");
    }

    /// Does what is to be done at first.
    fn registered() -> (Self, usize) {
        let (mut fixture, _) = Self::new();
        let (at, wish, task) = fixture.task();
        assert!(matches!(task, Task::Put { expected: 0, .. }));
        fixture.state.put(at, wish, Put::Done(7), Instant::now());
        fixture.idle();
        (fixture, at)
    }

    fn lease(&self) -> i64 {
        self.state.leases[&30].id
    }

    fn repeat(&mut self) -> Option<Result<(), Error>> {
        let service = Arc::clone(&self.service);
        self.state.repeat("vine", &service, None, Instant::now())
    }
}

/// Somebody else's value of the same node.
fn other(epoch: u64) -> Occupant {
    Occupant {
        node: Some(NodeRef::new("s", "n").with_namespace("vine")),
        version: "v1".into(),
        epoch,
        lease: 4711,
        mod_revision: 9,
        value: Bytes::from_static(b"other"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_put_is_registered_and_repeating_costs_nothing() {
    let (mut fixture, batch) = Fixture::new();
    assert!(fixture.repeat().is_none());
    let (at, wish, _) = fixture.task();
    assert!(outcome(&batch).await.is_none());
    fixture.state.put(at, wish, Put::Done(7), Instant::now());
    assert!(matches!(outcome(&batch).await, Some(Ok(()))));
    assert!(matches!(fixture.repeat(), Some(Ok(()))));
    assert_eq!(
        (fixture.state.wanted(), fixture.state.unwatched.as_slice()),
        (1, &[at][..])
    );
    fixture.idle();
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_meanwhile_is_put_next() {
    let (mut fixture, first) = Fixture::new();
    let (at, wish, _) = fixture.task();
    let changed = service(81);
    let second = fixture
        .state
        .register(call(&changed, 200, None), Instant::now())
        .unwrap();
    fixture.idle();
    fixture.state.put(at, wish, Put::Done(7), Instant::now());
    assert!(outcome(&second).await.is_none());
    let (_, wish, task) = fixture.task();
    let Task::Put {
        value, expected, ..
    } = task
    else {
        panic!("a put")
    };
    let value = value::Value::decode(&value).unwrap().unwrap();
    assert_eq!(
        (&*value.node.address, value.epoch, expected),
        ("10.0.0.7:81", Some(100), 7)
    );
    fixture.state.put(at, wish, Put::Done(8), Instant::now());
    for batch in [first, second] {
        assert!(matches!(outcome(&batch).await, Some(Ok(()))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_of_unknown_fate_is_deleted_whenever_it_takes_effect() {
    let (mut fixture, batch) = Fixture::new();
    let (at, wish, _) = fixture.task();
    fixture.state.doubt(at, Instant::now());
    fixture
        .state
        .failed(at, &Failure::Silent(Duration::from_secs(5)), Instant::now());
    assert!(matches!(
        outcome(&batch).await,
        Some(Err(Error::Unavailable { .. }))
    ));

    let (held, unknown) = fixture.state.held("vine", &fixture.service);
    assert!(unknown.is_empty());
    let ended = fixture.state.deregister(&held, Instant::now());
    let (_, deleting, task) = fixture.task();
    assert!(matches!(task, Task::Delete { .. }) && deleting != wish);
    fixture
        .state
        .deleted(at, deleting, None, 20, Instant::now());
    assert!(matches!(outcome(&ended).await, Some(Ok(()))));
    assert_eq!(fixture.state.unwatched, [at], "it may come still");
    fixture.idle();

    advance(Duration::from_secs(9)).await;
    fixture.state.changed(at, 21, Instant::now());
    let (_, wish, task) = fixture.task();
    assert!(matches!(task, Task::Delete { .. }));
    fixture.state.deleted(at, wish, None, 22, Instant::now());
    advance(Duration::from_secs(2)).await;
    fixture.state.awake(Instant::now());
    assert!(fixture.state.entries.is_empty(), "nothing is left to watch");
}

#[tokio::test(start_paused = true)]
async fn our_own_earlier_put_is_recognized() {
    let (mut fixture, batch) = Fixture::new();
    let (at, wish, task) = fixture.task();
    let Task::Put { value, lease, .. } = task else {
        panic!("a put")
    };
    let ours = Occupant {
        value,
        lease,
        epoch: 100,
        ..other(0)
    };
    fixture
        .state
        .put(at, wish, Put::Occupied(ours), Instant::now());
    assert!(matches!(outcome(&batch).await, Some(Ok(()))));
}

#[tokio::test(start_paused = true)]
async fn a_new_registration_takes_over_whatever_the_clocks_say() {
    let (mut fixture, _) = Fixture::new();
    let (at, wish, _) = fixture.task();
    fixture
        .state
        .put(at, wish, Put::Occupied(other(500)), Instant::now());
    let (_, _, task) = fixture.task();
    let Task::Put {
        value, expected, ..
    } = task
    else {
        panic!("a put")
    };
    let value = value::Value::decode(&value).unwrap().unwrap();
    assert_eq!((value.epoch, expected), (Some(501), 9));
}

#[tokio::test(start_paused = true)]
async fn a_later_registration_keeps_the_node() {
    let (mut fixture, at) = Fixture::registered();
    fixture.state.changed(at, 9, Instant::now());
    let (_, wish, _) = fixture.task();
    fixture
        .state
        .put(at, wish, Put::Occupied(other(500)), Instant::now());
    fixture.idle();
    let again = fixture
        .state
        .register(call(&service(80), 600, None), Instant::now());
    assert!(matches!(again, Err(Error::Replaced { .. })));

    let (held, _) = fixture.state.held("vine", &service(80));
    assert!(held.is_empty(), "the winner is left alone");
    assert!(
        fixture
            .state
            .register(call(&service(80), 600, None), Instant::now())
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn an_earlier_registration_is_overwritten() {
    let (mut fixture, at) = Fixture::registered();
    fixture.state.changed(at, 9, Instant::now());
    let (_, wish, _) = fixture.task();
    fixture
        .state
        .put(at, wish, Put::Occupied(other(50)), Instant::now());
    let (_, wish, task) = fixture.task();
    assert!(matches!(task, Task::Put { expected: 9, .. }));
    fixture.state.put(at, wish, Put::Done(10), Instant::now());
    // The news of our own put, and old news.
    fixture.state.changed(at, 10, Instant::now());
    fixture.state.changed(at, 9, Instant::now());
    fixture.idle();
}

#[tokio::test(start_paused = true)]
async fn of_two_with_one_epoch_one_gives_way() {
    let mut outcomes = Vec::new();
    for greater in [true, false] {
        let (mut fixture, at) = Fixture::registered();
        let lease = if greater { i64::MAX } else { 0 };
        fixture.state.changed(at, 9, Instant::now());
        let (_, wish, _) = fixture.task();
        let tied = Occupant {
            lease,
            ..other(100)
        };
        fixture
            .state
            .put(at, wish, Put::Occupied(tied), Instant::now());
        outcomes.push(fixture.state.next(Instant::now()).is_none());
    }
    assert_eq!(outcomes, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_lease_held_is_put_again_under_another_one() {
    let (mut fixture, _) = Fixture::registered();
    let lost = fixture.lease();
    fixture.state.lose_lease(lost, Instant::now());
    assert!(fixture.state.is_restoring("vine", &service(80)));
    fixture.idle();
    let new = fixture.lease();
    assert_ne!(new, lost);
    advance(Duration::from_secs(5)).await;
    let now = Instant::now();
    fixture.state.awake(now);
    fixture.idle();
    assert_eq!(fixture.state.lease_wanted(now), Some(now));
    fixture.state.granted(30, new, Instant::now());
    let (_, _, task) = fixture.task();
    assert!(matches!(task, Task::Put { lease, expected: 0, .. } if lease == new));
}

#[tokio::test(start_paused = true)]
async fn who_registers_under_a_lost_lease_does_not_wait_for_a_turn() {
    let (mut fixture, batch) = Fixture::new();
    let lost = fixture.lease();
    let (at, wish, _) = fixture.task();
    fixture.state.lease_gone(at, lost, Instant::now());
    fixture.idle();
    let new = fixture.lease();
    fixture.state.granted(30, new, Instant::now());
    let (again, _, task) = fixture.task();
    assert!(again == at && matches!(task, Task::Put { lease, .. } if lease == new));
    fixture.state.put(at, wish, Put::Done(7), Instant::now());
    assert!(matches!(outcome(&batch).await, Some(Ok(()))));
}

/// Of each process, since many lose their leases together.
#[tokio::test(start_paused = true)]
async fn what_a_lost_lease_held_comes_back_spread() {
    const KEYS: usize = 100;
    const PROCESSES: usize = 20;
    const SLICES: usize = 50;
    let mut puts = [0; SLICES + 1];
    for _ in 0..PROCESSES {
        let mut state = State::new();
        let now = Instant::now();
        for index in 0..KEYS {
            let held = Service::new(format!("s{index}"), "v1").with_namespace("vine");
            let held = Arc::new(held.with_node(Node::new("n", "10.0.0.7:80")));
            state.register(call(&held, 100, None), now).unwrap();
        }
        let put_all = |state: &mut State, now| {
            let mut count = 0;
            state.awake(now);
            while let Some((at, wish, _)) = state.next(now) {
                state.put(at, wish, Put::Done(7), now);
                count += 1;
            }
            count
        };
        put_all(&mut state, now);
        let first = state.leases[&30].id;
        state.granted(30, first, now);
        assert_eq!(put_all(&mut state, now), KEYS);
        state.lose_lease(first, now);
        let second = state.leases[&30].id;
        put_all(&mut state, now);
        state.granted(30, second, now);
        for (slice, puts) in puts.iter_mut().enumerate() {
            let now = now + Duration::from_millis(100) * u32::try_from(slice).unwrap();
            *puts += put_all(&mut state, now);
        }
    }
    assert_eq!(puts.iter().sum::<usize>(), PROCESSES * KEYS);
    let mean = PROCESSES * KEYS / SLICES;
    assert!(puts.iter().all(|puts| *puts <= 3 * mean), "{puts:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_renewed_ends() {
    let mut state = State::new();
    let ttl = Some(Duration::from_secs(3));
    let held = service(80);
    state
        .register(call(&held, 100, ttl), Instant::now())
        .unwrap();
    let id = state.leases[&30].id;
    state.next(Instant::now());
    state.granted(30, id, Instant::now());
    let (at, wish, _) = state.next(Instant::now()).unwrap();
    state.put(at, wish, Put::Done(7), Instant::now());

    advance(Duration::from_secs(2)).await;
    assert!(matches!(
        state.repeat("vine", &held, ttl, Instant::now()),
        Some(Ok(()))
    ));
    advance(Duration::from_secs(2)).await;
    assert!(state.expire(Instant::now()).is_some(), "it was renewed");
    assert!(state.next(Instant::now()).is_none());
    advance(Duration::from_secs(1)).await;
    assert!(state.expire(Instant::now()).is_none());
    let Some((_, _, Task::Delete { farewell, .. })) = state.next(Instant::now()) else {
        panic!("it is to be deleted");
    };
    assert!(farewell.is_none(), "nobody deregistered it");
}

/// As in an outage, when each call is made again and again.
#[tokio::test(start_paused = true)]
async fn calls_that_take_the_place_of_others_do_not_pile_up() {
    let (mut fixture, _) = Fixture::new();
    let hour = Some(Duration::from_secs(3600));
    for round in 0..1000 {
        let call = call(&service(81 + round), 100, hour);
        fixture.state.register(call, Instant::now()).unwrap();
    }
    let noted = fixture.state.deadlines.len();
    assert!(noted < 100, "{noted} for one registration");
    let waiters = fixture.state.entries[0].waiters.len();
    assert!(waiters < 100, "{waiters}, and nobody waits any more");
    advance(Duration::from_secs(3600)).await;
    assert!(fixture.state.expire(Instant::now()).is_none());
    assert_eq!(fixture.state.wanted(), 0, "the last one has ended");
}

#[tokio::test(start_paused = true)]
async fn what_is_deregistered_is_told_so_before_it_is_deleted() {
    let (mut fixture, _) = Fixture::registered();
    let (held, _) = fixture.state.held("vine", &fixture.service);
    fixture.state.deregister(&held, Instant::now());
    let (at, wish, task) = fixture.task();
    let Task::Delete {
        farewell: Some(farewell),
        ..
    } = task
    else {
        panic!("it is to be told and deleted");
    };
    assert_eq!(farewell.expected, 7);
    let value = value::Value::decode(&farewell.value).unwrap().unwrap();
    assert!(value.deregistered);
    // Registered again meanwhile: what comes next does not say so any more.
    let service = Arc::clone(&fixture.service);
    fixture
        .state
        .register(call(&service, 200, None), Instant::now())
        .unwrap();
    fixture.state.deleted(at, wish, None, 9, Instant::now());
    let (at, wish, task) = fixture.task();
    assert!(matches!(&task, Task::Put { value, .. } if !value.ends_with(b"true}")));
    fixture.state.put(at, wish, Put::Done(10), Instant::now());
    let farewells = fixture.state.close();
    assert_eq!(farewells.len(), 1, "of what is left at the end");
    assert_eq!(farewells[0].expected, 10);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_is_forgotten_when_nothing_is_left_of_it() {
    let (mut fixture, _) = Fixture::registered();
    let (vine, s) = (Arc::from("vine"), Arc::from("s"));
    advance(REMEMBER).await;
    fixture.state.forget_writes(Instant::now());
    assert_eq!(fixture.state.written(&vine, &s), 7, "it is still there");
    let (held, _) = fixture.state.held("vine", &fixture.service);
    fixture.state.deregister(&held, Instant::now());
    let (at, wish, _) = fixture.task();
    fixture.state.deleted(at, wish, None, 9, Instant::now());
    fixture.state.forget_writes(Instant::now());
    assert_eq!(
        fixture.state.written(&vine, &s),
        9,
        "a watch may lag behind"
    );
    advance(REMEMBER).await;
    fixture.state.forget_writes(Instant::now());
    assert_eq!(fixture.state.written(&vine, &s), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_key_is_anothers_is_refused_and_forgotten() {
    let (mut fixture, batch) = Fixture::new();
    let (at, wish, _) = fixture.task();
    let node = Some(NodeRef::new("s", "other").with_namespace("vine"));
    fixture.state.put(
        at,
        wish,
        Put::Occupied(Occupant { node, ..other(1) }),
        Instant::now(),
    );
    assert!(matches!(
        outcome(&batch).await,
        Some(Err(Error::InvalidService { .. }))
    ));
    assert!(fixture.state.entries.is_empty() && fixture.state.wanted() == 0);
}

#[tokio::test(start_paused = true)]
async fn a_denial_ends_a_first_call_and_not_what_was_established() {
    let denial = || Failure::Refused(tonic::Status::permission_denied("no"));
    let (mut fixture, batch) = Fixture::new();
    let (at, ..) = fixture.task();
    fixture.state.failed(at, &denial(), Instant::now());
    assert!(matches!(
        outcome(&batch).await,
        Some(Err(Error::PermissionDenied { .. }))
    ));
    assert!(fixture.state.entries.is_empty());

    let (mut fixture, at) = Fixture::registered();
    fixture.state.distrust(at, Instant::now());
    fixture.task();
    fixture.state.failed(at, &denial(), Instant::now());
    fixture.idle();
    // So often that it is back within its ttl, and not at once.
    advance(Duration::from_secs(4)).await;
    fixture.state.awake(Instant::now());
    fixture.idle();
    advance(Duration::from_secs(6)).await;
    fixture.state.awake(Instant::now());
    let (at, wish, _) = fixture.task();
    fixture.state.put(at, wish, Put::Done(9), Instant::now());

    // The same where it is the lease that is denied.
    let lease = fixture.lease();
    fixture.state.lose_lease(lease, Instant::now());
    advance(Duration::from_secs(5)).await;
    fixture.state.awake(Instant::now());
    fixture.idle();
    fixture.state.not_granted(30, &denial(), Instant::now());
    fixture.idle();
    assert!(fixture.state.lease_wanted(Instant::now()).is_none());
    advance(Duration::from_secs(10)).await;
    fixture.state.awake(Instant::now());
    fixture.idle();
    assert!(fixture.state.lease_wanted(Instant::now()).is_some());
}

/// It may be a lie, but it is no reason to fail, and who wins is clear to both.
#[tokio::test(start_paused = true)]
async fn an_epoch_after_which_there_is_none_is_taken_over_once() {
    let (mut fixture, batch) = Fixture::new();
    let (at, wish, _) = fixture.task();
    let occupied = Put::Occupied(other(u64::MAX));
    fixture.state.put(at, wish, occupied, Instant::now());
    let (_, wish, task) = fixture.task();
    let Task::Put {
        value, expected, ..
    } = task
    else {
        panic!("a put")
    };
    let value = value::Value::decode(&value).unwrap().unwrap();
    assert_eq!((value.epoch, expected), (Some(u64::MAX), 9));
    fixture.state.put(at, wish, Put::Done(10), Instant::now());
    assert!(matches!(outcome(&batch).await, Some(Ok(()))));
    for (lease, ours) in [(0, true), (i64::MAX, false)] {
        fixture.state.distrust(at, Instant::now());
        let (_, wish, _) = fixture.task();
        let again = Occupant {
            lease,
            ..other(u64::MAX)
        };
        fixture
            .state
            .put(at, wish, Put::Occupied(again), Instant::now());
        let next = fixture.state.next(Instant::now());
        assert_eq!(next.is_some(), ours, "lease {lease}");
        if let Some((_, wish, _)) = next {
            fixture.state.put(at, wish, Put::Done(11), Instant::now());
        }
    }
}
