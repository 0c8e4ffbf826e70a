//! Connections that are of no use.

use std::{
    error::Error,
    future::{Ready, ready},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Service, service_fn};
use vine_discovery::{
    Cache, Ejection, RoundRobin, Selector,
    clients::{
        BoxError, CallError, Retries,
        tower::{Balanced, Once},
    },
};
use vine_registry::Node;

use crate::{
    faulty::Faulty,
    world::{Even, NAME, World, balanced, balanced_by, cache, is_ejected, model, selector},
};

/// A connection that may never become ready.
#[derive(Clone)]
struct Fickle {
    node: Arc<Node>,
    is_ready: bool,
    polls: Arc<AtomicUsize>,
}

impl Service<u32> for Fickle {
    type Response = String;
    type Error = BoxError;
    type Future = Ready<Result<String, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let polls = self.polls.fetch_add(1, Ordering::Relaxed);
        assert!(polls < 10_000, "it is asked without end");
        Poll::Ready(if self.is_ready {
            Ok(())
        } else {
            Err("hung up".into())
        })
    }

    fn call(&mut self, _: u32) -> Self::Future {
        ready(Ok(self.node.id.to_string()))
    }
}

/// A client to which only the connections to node `a` become ready, and when each was made to others.
fn fickle(
    selector: Selector,
    retries: Retries,
) -> (Balanced<Fickle, u32>, Arc<Mutex<Vec<Instant>>>) {
    let made: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let (times, polls) = (Arc::clone(&made), Arc::default());
    let connect = move |node: Arc<Node>| {
        let is_ready = &*node.id == "a";
        if !is_ready {
            times.lock().unwrap().push(Instant::now());
        }
        let polls = Arc::clone(&polls);
        ready(Ok::<_, BoxError>(Fickle {
            node,
            is_ready,
            polls,
        }))
    };
    let builder = Balanced::builder(selector).policy(Once).retries(retries);
    (builder.build(service_fn(connect)), made)
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_never_ready_ends_the_call_and_is_remade_ever_more_rarely() {
    for retries in [Retries::none(), Retries::new()] {
        let cache = cache("b").await;
        let (mut client, made) = fickle(selector(&cache), retries);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(60) {
            let error = client.call(0).await.unwrap_err();
            assert_eq!(error.source().unwrap().to_string(), "hung up");
            sleep(Duration::from_millis(5)).await;
        }
        let made = made.lock().unwrap();
        let pauses: Vec<_> = made.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((15..=40).contains(&pauses.len()), "{pauses:?}");
        assert!(pauses[1] < Duration::from_millis(200), "{pauses:?}");
        let last = pauses.last().unwrap();
        assert!(*last >= Duration::from_millis(2_500), "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_connections_are_never_ready_is_ejected_and_costs_no_call() {
    let cache = cache("a b").await;
    let hour = Duration::from_secs(3600);
    let selector = Selector::builder(cache.subscribe(NAME))
        .strategy(RoundRobin::new())
        .ejection(Ejection::new().with_times(hour, hour))
        .build();
    let (mut client, made) = fickle(selector.clone(), Retries::new());
    let start = Instant::now();
    while !is_ejected(&selector, "b") {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it gets calls still"
        );
        assert_eq!(client.call(0).await.unwrap(), "a");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(made.lock().unwrap().len(), 6, "the first one may break");
}

#[tokio::test(start_paused = true)]
async fn one_that_was_closed_while_it_was_idle_costs_no_call() {
    let (cache, world) = (cache("a").await, World::default());
    let mut client = balanced(&cache, &world, Retries::none());
    let mut updates = client.selector().updates();
    updates.next().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.change(|hosts| hosts.connected["a:1"]), 1);
    world.cut("a:1");
    client.call(1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_first_connection_is_made_at_once() {
    let (cache, world) = (cache("a").await, World::default());
    // Between two ticks of the timer.
    advance(Duration::from_micros(500)).await;
    let start = Instant::now();
    let mut client = balanced(&cache, &world, Retries::none());
    client.call(1).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    world.cut("a:1");
    client.call(1).await.unwrap();
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "nor does the next one wait"
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_that_panics_has_failed() {
    let cache = cache("a").await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&attempts);
    let connect = move |node: Arc<Node>| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move {
            assert!(number >= 3, "the connector has a fault");
            let answer = move |_: u32| ready(Ok::<_, BoxError>(node.id.to_string()));
            Ok::<_, BoxError>(service_fn(answer))
        }
    };
    let mut client = Balanced::builder(selector(&cache)).build(service_fn(connect));
    let call = timeout(Duration::from_secs(60), client.call(0)).await;
    let error = call.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("the connector has a fault"), "{cause}");
    let start = Instant::now();
    while client.call(0).await.is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "it is not tried again"
        );
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(attempts.load(Ordering::Relaxed), 4);
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn what_this_process_lacks_is_reported_of_no_node() {
    let registry = Faulty::with([model("refusing starved")]);
    let cache = Cache::new(registry.clone());
    let connect = |node: Arc<Node>| {
        let error: BoxError = match &*node.id {
            "refusing" => io::Error::from(io::ErrorKind::ConnectionRefused).into(),
            // EMFILE.
            _ => io::Error::other(io::Error::from_raw_os_error(24)).into(),
        };
        ready(Err::<Fickle, _>(error))
    };
    let mut client = Balanced::builder(selector(&cache)).build(service_fn(connect));
    let error = client.call(0).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    sleep(Duration::from_secs(60)).await;
    let reported = registry.state().unreachable.clone();
    assert!(!reported.is_empty());
    for node in reported {
        assert_eq!(&*node.id, "refusing");
    }
}

#[tokio::test(start_paused = true)]
async fn that_there_was_no_node_before_an_outage_is_not_said_of_now() {
    let faulty = Faulty::default();
    let cache = Cache::new(faulty.clone());
    let mut subscription = cache.subscribe(NAME);
    assert!(subscription.ready().await.unwrap().is_empty());
    faulty.cut();
    while !subscription.known().is_stale() {
        subscription.changed().await.unwrap();
    }
    let selector = selector(&cache);
    let mut client = balanced_by(selector, &World::default(), Retries::new());
    let error = client.call(0).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("somebody cut the cable"), "{error}");
}

/// A connection that breaks under its first call.
#[derive(Clone, Default)]
struct Breaking(Arc<AtomicUsize>);

impl Service<u32> for Breaking {
    type Response = String;
    type Error = BoxError;
    type Future = Ready<Result<String, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err("hung up".into()),
        })
    }

    fn call(&mut self, _: u32) -> Self::Future {
        self.0.fetch_add(1, Ordering::Relaxed);
        ready(Err("it broke in the middle".into()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_node_has_seen_is_not_said_to_have_reached_none() {
    let cache = cache("a").await;
    let connection = Breaking::default();
    let connect = move |_: Arc<Node>| {
        ready(match connection.0.load(Ordering::Relaxed) {
            0 => Ok(connection.clone()),
            _ => Err::<_, BoxError>("it refuses".into()),
        })
    };
    let mut client = Balanced::builder(selector(&cache))
        .policy(Even)
        .build(service_fn(connect));
    let error = client.call(0).await.unwrap_err();
    assert!(matches!(error, CallError::Failed { .. }), "{error}");
    let cause = error.source().unwrap().to_string();
    assert_eq!(cause, "it broke in the middle");
}
