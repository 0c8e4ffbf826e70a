//! What was known is served through every kind of outage, and how old it is can be seen.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, advance, sleep, timeout},
};
use vine_discovery::{Cache, CacheOptions, NoNode, Selector, Standing};
use vine_registry::{Error, GetOptions, MemoryRegistry, Node, Registry, RegistryExt, Service};

use crate::faulty::Faulty;

const NAME: &str = "go.vine.test";

fn service(ids: &str) -> Service {
    let node = |id: &str| Node::new(id, format!("{id}.example:80"));
    Service::new(NAME, "v1").with_nodes(ids.split_whitespace().map(node))
}

#[tokio::test(start_paused = true)]
async fn one_watch_for_all_who_ask() {
    let faulty = Faulty::with([service("a b")]);
    let cache = Cache::new(faulty.clone());
    let asking: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn({
                let cache = cache.clone();
                async move { cache.get_service(NAME).await }
            })
        })
        .collect();
    for asking in asking {
        assert_eq!(asking.await.unwrap().unwrap().node_count(), 2);
    }
    assert_eq!(cache.peek(NAME).unwrap().node_count(), 2);
    assert_eq!(faulty.state().watches, 1);
    assert_eq!(faulty.state().look_ups, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_asked_for_again() {
    let faulty = Faulty::default();
    let cache = Cache::new(faulty.clone());
    for _ in 0..100 {
        let answer = cache.get_service(NAME).await;
        assert!(matches!(answer, Err(Error::NotFound { .. })));
    }
    assert!(cache.peek(NAME).unwrap().is_empty());
    assert_eq!(faulty.state().watches, 1);
    let mut subscription = cache.subscribe(NAME);
    faulty.set([service("a")]);
    subscription.changed().await.unwrap();
    assert_eq!(cache.get_service(NAME).await.unwrap().node_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_name_in_two_namespaces_is_two_services() {
    let registry = MemoryRegistry::new();
    let cache = Cache::new(registry.clone());
    registry.register(service("a b")).await.unwrap();
    let elsewhere = service("c").with_namespace("elsewhere");
    registry.register(elsewhere).await.unwrap();
    let mut here = cache.subscribe(NAME);
    let mut there = cache.subscribe_in("elsewhere", NAME);
    assert_eq!(here.ready().await.unwrap().node_count(), 2);
    assert_eq!(there.ready().await.unwrap().node_count(), 1);
    assert_eq!(cache.peek(NAME).unwrap().node_count(), 2);
    assert_eq!(cache.peek_in("elsewhere", NAME).unwrap().node_count(), 1);
    assert!(cache.peek_in("nowhere", NAME).is_none());
    let options = GetOptions::new().with_namespace("elsewhere");
    let services = cache.get_service_with(NAME, &options).await.unwrap();
    assert_eq!(&*services[0].namespace, "elsewhere");
    assert_eq!(cache.name_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_known_is_served_and_its_age_is_seen() {
    for crash in [false, true] {
        let faulty = Faulty::with([service("a b")]);
        let cache = Cache::new(faulty.clone());
        let mut subscription = cache.subscribe(NAME);
        let selector = Selector::builder(subscription.clone()).build();
        selector.ready().await.unwrap();
        assert_eq!(subscription.known().age(), Some(Duration::ZERO));

        if crash {
            faulty.crash()
        } else {
            faulty.cut()
        }
        while !subscription.known().is_stale() {
            subscription.changed().await.unwrap();
        }
        sleep(Duration::from_secs(600)).await;
        let age = subscription.known().age().unwrap();
        assert!((600..601).contains(&age.as_secs()), "{age:?}");
        assert!(matches!(
            subscription.known().error(),
            Some(Error::Unavailable { .. })
        ));
        assert_eq!(cache.get_service(NAME).await.unwrap().node_count(), 2);
        assert_eq!(cache.peek(NAME).unwrap().node_count(), 2);
        assert!(selector.with_pick(|_| ()).is_ok());

        faulty.mend();
        faulty.set([service("c")]);
        while subscription.known().is_stale() || subscription.services().node_count() != 1 {
            subscription.changed().await.unwrap();
        }
        assert_eq!(subscription.known().age(), Some(Duration::ZERO));
        assert!(
            cache.get_service(NAME).await.unwrap()[0]
                .nodes
                .get("c")
                .is_some()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn stale_answers_can_be_refused() {
    let faulty = Faulty::with([service("a")]);
    let options = CacheOptions::new().with_allow_stale(false);
    let cache = Cache::with_options(faulty.clone(), options);
    let mut subscription = cache.subscribe(NAME);
    subscription.ready().await.unwrap();
    faulty.cut();
    subscription.changed().await.unwrap();
    let refused = cache.get_service(NAME).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })));
    let stale = GetOptions::new().with_allow_stale(true);
    assert_eq!(
        cache
            .get_service_with(NAME, &stale)
            .await
            .unwrap()
            .node_count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn that_there_was_none_is_no_answer_after_an_outage() {
    let faulty = Faulty::default();
    let cache = Cache::new(faulty.clone());
    let mut subscription = cache.subscribe(NAME);
    subscription.ready().await.unwrap();
    faulty.cut();
    subscription.changed().await.unwrap();
    let answer = cache.get_service(NAME).await;
    assert!(
        matches!(answer, Err(Error::Unavailable { .. })),
        "{answer:?}"
    );
    assert!(cache.peek(NAME).is_none());
    let selector = Selector::builder(subscription).build();
    let refusal = selector.ready().await.unwrap_err();
    assert!(matches!(refusal, NoNode::Unknown { .. }), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_makes_stale_before_it_is_known_why() {
    let faulty = Faulty::with([service("a")]);
    let cache = Cache::new(faulty.clone());
    let mut subscription = cache.subscribe(NAME);
    subscription.ready().await.unwrap();
    let start = Instant::now();
    faulty.state().hangs = true;
    faulty.crash();
    subscription.changed().await.unwrap();
    assert!(subscription.known().is_stale());
    sleep(Duration::from_secs(20)).await;
    assert_eq!(subscription.known().age(), Some(start.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_can_not_be_one_is_said_to_be_so_each_time() {
    let cache = Cache::new(MemoryRegistry::new());
    let mut subscription = cache.subscribe("..");
    sleep(Duration::from_secs(1)).await;
    for _ in 0..2 {
        let answer = subscription.ready().await;
        assert!(
            matches!(answer, Err(Error::InvalidService { .. })),
            "{answer:?}"
        );
        let answer = subscription.changed().await;
        assert!(
            matches!(answer, Err(Error::InvalidService { .. })),
            "{answer:?}"
        );
    }
    let selector = Selector::builder(subscription).build();
    let refusal = selector.ready().await.unwrap_err();
    assert!(matches!(refusal, NoNode::Unknown { .. }), "{refusal}");
}

#[test]
fn a_name_is_not_taken_where_nobody_can_follow_it() {
    let cache = Cache::new(MemoryRegistry::new());
    let outside = catch_unwind(AssertUnwindSafe(|| cache.subscribe(NAME)));
    assert!(outside.is_err());
    assert_eq!(cache.name_count(), 0);

    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let handle = runtime.handle().clone();
    drop(runtime);
    let entered = handle.enter();
    let subscription = cache.subscribe(NAME);
    assert!(matches!(subscription.known().error(), Some(Error::Closed)));
    assert_eq!(cache.name_count(), 0);
    drop(entered);

    let answer = Runtime::new().unwrap().block_on(cache.get_service(NAME));
    assert!(matches!(answer, Err(Error::NotFound { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_name_gives_the_registrys_error_and_is_asked_for_on() {
    let faulty = Faulty::with([service("a")]);
    faulty.cut();
    let cache = Cache::new(faulty.clone());
    for asked in 1..=3 {
        let answer = cache.get_service(NAME).await;
        assert!(
            matches!(answer, Err(Error::Unavailable { .. })),
            "{answer:?}"
        );
        assert!(faulty.state().watches >= asked, "each look-up has it asked");
    }
    assert!(cache.peek(NAME).is_none());
    let mut subscription = cache.subscribe(NAME);
    faulty.mend();
    while !subscription.known().is_known() {
        subscription.changed().await.unwrap();
    }
    assert_eq!(
        cache.peek(NAME).unwrap().node_count(),
        1,
        "nobody asked again"
    );
}

#[tokio::test(start_paused = true)]
async fn attempts_grow_rarer() {
    let faulty = Faulty::default();
    faulty.cut();
    let cache = Cache::new(faulty.clone());
    let _subscription = cache.subscribe(NAME);
    sleep(Duration::from_secs(100)).await;
    let watches = faulty.state().watches;
    // Eight on the way to pauses of 2.5 to 5 s.
    assert!((20..=48).contains(&watches), "{watches}");
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_uses_are_let_go() {
    let options = CacheOptions::new().with_idle(Duration::from_secs(60));
    let cache = Cache::with_options(Faulty::with([service("a")]), options);
    cache.get_service(NAME).await.unwrap();
    for _ in 0..10 {
        sleep(Duration::from_secs(40)).await;
        assert!(cache.peek(NAME).is_some(), "it is used");
    }
    sleep(Duration::from_secs(80)).await;
    assert!(cache.peek(NAME).is_none());
    assert_eq!(cache.name_count(), 0);

    let subscription = cache.subscribe(NAME);
    sleep(Duration::from_secs(600)).await;
    assert!(cache.peek(NAME).is_some(), "somebody subscribes");
    drop(subscription);
    sleep(Duration::from_secs(80)).await;
    assert_eq!(cache.name_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_names_is_bounded() {
    let options = CacheOptions::new().with_max_names(10);
    let faulty = Faulty::default();
    let cache = Cache::with_options(faulty.clone(), options);
    let used = cache.subscribe("used");
    for i in 0..1_000 {
        let answer = cache.get_service(&format!("name-{i}")).await;
        assert!(matches!(answer, Err(Error::NotFound { .. })));
        assert!(cache.name_count() <= 10);
    }
    assert!(cache.peek("used").is_some());
    // When all are in use, a look-up goes through.
    let held: Vec<_> = (0..10)
        .map(|i| cache.subscribe(&format!("held-{i}")))
        .collect();
    cache.get_service("one-more").await.unwrap_err();
    assert_eq!(faulty.state().look_ups, 1);
    assert!(cache.peek("one-more").is_none());
    drop((used, held));
}

#[tokio::test(start_paused = true)]
async fn closing_ends_subscriptions() {
    let cache = Cache::new(Faulty::with([service("a")]));
    let mut subscription = cache.subscribe(NAME);
    subscription.ready().await.unwrap();
    cache.close().await.unwrap();
    while subscription.changed().await.is_ok() {}
    assert!(matches!(
        subscription.known().standing,
        Standing::Stale {
            error: Error::Closed,
            ..
        }
    ));
    assert_eq!(
        subscription.services().node_count(),
        1,
        "what was known stays"
    );
    advance(Duration::from_secs(1)).await;
    assert!(matches!(subscription.changed().await, Err(Error::Closed)));
}

#[tokio::test(start_paused = true)]
async fn of_many_changes_at_a_time_none_is_missed() {
    let version = |number: u32| {
        let node = Node::new("a", "a.example:80").with_metadata([("n", number.to_string())]);
        Service::new(NAME, "v1").with_node(node)
    };
    let faulty = Faulty::with([version(0)]);
    let cache = Cache::new(faulty.clone());
    let mut subscription = cache.subscribe(NAME);
    subscription.ready().await.unwrap();
    for last in [1_000, 1_023, 1_024, 1_025, 1_026, 3_000] {
        // More than a watch takes before it waits are there at once.
        (1..=last).for_each(|number| faulty.set([version(number)]));
        let expected = version(last).with_namespace("vine");
        let seen = async {
            while subscription.services() != [expected.clone()].into_iter().collect() {
                subscription.changed().await.unwrap();
            }
        };
        let seen = timeout(Duration::from_secs(60), seen).await;
        assert!(seen.is_ok(), "{last}");
    }
}
