use vine_registry::{Node, view::Entry};

use super::*;

fn loopback(port: u16) -> MdnsOptions {
    MdnsOptions::new()
        .with_port(port)
        .with_interfaces(["127.0.0.1"])
}

fn start(port: u16) -> (mpsc::UnboundedSender<Command>, Arc<Shared>) {
    let (commands, received) = mpsc::unbounded_channel();
    let driver = Driver::new(loopback(port), "vine".into(), received);
    let shared = driver.shared();
    tokio::spawn(driver.run());
    (commands, shared)
}

fn question() -> Question {
    Question::Service {
        namespace: "vine".into(),
        name: "s".into(),
    }
}

async fn settle(commands: &mpsc::UnboundedSender<Command>, wait: Wait) {
    try_settle(commands, wait).await.unwrap();
}

async fn try_settle(commands: &mpsc::UnboundedSender<Command>, wait: Wait) -> Result<()> {
    let (reply, answer) = oneshot::channel();
    let settle = Settle {
        question: question(),
        wait,
        patient: false,
        reply,
    };
    commands.send(Command::Settle(settle)).unwrap();
    answer.await.unwrap()
}

async fn watch(commands: &mpsc::UnboundedSender<Command>) -> Watcher {
    let (reply, answer) = oneshot::channel();
    let watch = Command::Watch {
        topic: Topic::service("vine", "s"),
        question: question(),
        reply,
    };
    commands.send(watch).unwrap();
    answer.await.unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_browse_ends_five_minutes_after_the_last_question() {
    let (commands, shared) = start(19_001);
    settle(&commands, Wait::Settled).await;
    for _ in 0..4 {
        tokio::time::sleep(4 * MINUTE).await;
        assert!(shared.service("vine", "s").is_some());
    }
    tokio::time::sleep(6 * MINUTE).await;
    assert!(shared.service("vine", "s").is_none());
    settle(&commands, Wait::Settled).await;
    assert!(shared.service("vine", "s").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_browse_lives_as_long_as_a_watch() {
    let (commands, shared) = start(19_002);
    settle(&commands, Wait::Settled).await;
    let watcher = watch(&commands).await;
    tokio::time::sleep(20 * MINUTE).await;
    assert!(shared.service("vine", "s").is_some());
    drop(watcher);
    tokio::time::sleep(6 * MINUTE).await;
    assert!(shared.service("vine", "s").is_none());
}

#[tokio::test(start_paused = true)]
async fn after_the_first_node_the_rest_is_looked_up_too() {
    let (commands, shared) = start(19_003);
    let (reply, answer) = oneshot::channel();
    let register = Command::Register {
        service: Arc::new(Service::new("s", "v1").with_node(Node::new("a", "127.0.0.1:80"))),
        namespace: "vine".into(),
        ttl: None,
        reply,
    };
    commands.send(register).unwrap();
    answer.await.unwrap().unwrap();
    settle(&commands, Wait::First).await;
    assert!(shared.service("vine", "s").is_none(), "not settled yet");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(shared.service("vine", "s").unwrap().node_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_driver_ends_with_its_last_handle() {
    let (commands, received) = mpsc::unbounded_channel();
    let driver = tokio::spawn(Driver::new(loopback(19_004), "vine".into(), received).run());
    let watcher = {
        settle(&commands, Wait::Settled).await;
        watch(&commands).await
    };
    drop(commands);
    driver.await.unwrap();
    let mut watcher = watcher;
    assert!(watcher.next().await.is_none());
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_port_that_is_held_is_tried_again() {
    let holder = std::net::UdpSocket::bind("0.0.0.0:19005").unwrap();
    let (commands, _) = start(19_005);
    let error = try_settle(&commands, Wait::Settled).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(holder);
    tokio::time::sleep(Duration::from_secs(1)).await;
    settle(&commands, Wait::Settled).await;
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_listed_stays_in_use_and_is_looked_at_again() {
    let (_commands, received) = mpsc::unbounded_channel();
    let mut driver = Driver::new(loopback(19_006), "vine".into(), received);
    assert_eq!(driver.interfaces.len(), 1);
    driver.follow(Err(std::io::ErrorKind::OutOfMemory.into()), false);
    assert_eq!(driver.interfaces.len(), 1);
    assert!(driver.shared.staleness().is_none());
    let soon = Duration::from_secs(1);
    timeout(soon, driver.monitor.changed()).await.unwrap();
    driver.look_at_interfaces();
    assert_eq!(driver.interfaces.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_listed_at_first_is_an_outage_that_ends() {
    let (_commands, received) = mpsc::unbounded_channel();
    let mut driver = Driver::new(loopback(19_007), "vine".into(), received);
    driver.follow(Ok(Vec::new()), false);
    driver.follow(Err(std::io::ErrorKind::OutOfMemory.into()), true);
    driver.let_out();
    let why = driver.shared.staleness().unwrap().to_string();
    assert!(why.contains("can't list"), "{why}");
    driver.look_at_interfaces();
    driver.let_out();
    assert!(driver.shared.staleness().is_none());
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn the_interfaces_are_looked_at_when_the_machine_wakes() {
    let holder = std::net::UdpSocket::bind("0.0.0.0:19008").unwrap();
    let (_commands, received) = mpsc::unbounded_channel();
    let mut driver = Driver::new(loopback(19_008), "vine".into(), received);
    assert_eq!(driver.interfaces.len(), 0);
    drop(holder);
    driver.woke(MINUTE);
    assert_eq!(driver.interfaces.len(), 1);
}

/// Lets the time pass until a question is answered; gives how long that took.
async fn answered(driver: &mut Driver, wait: Wait) -> Duration {
    let began = Instant::now();
    let answer = asked(driver, wait);
    let answer = answer_of(driver, answer).await;
    answer.unwrap();
    began.elapsed()
}

fn asked(driver: &mut Driver, wait: Wait) -> oneshot::Receiver<Result<()>> {
    let (reply, answer) = oneshot::channel();
    driver.settle(Settle {
        question: question(),
        wait,
        patient: false,
        reply,
    });
    answer
}

async fn answer_of(driver: &mut Driver, mut answer: oneshot::Receiver<Result<()>>) -> Result<()> {
    loop {
        driver.let_out();
        match answer.try_recv() {
            Ok(answer) => return answer,
            Err(_) => sleep_until(driver.deadline()).await,
        }
        driver.pass_time();
    }
}

/// How long it takes to find nobody.
const NOBODY: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_lookup_that_ended_early_settles_nothing() {
    let (_commands, received) = mpsc::unbounded_channel();
    let mut driver = Driver::new(loopback(19_009), "vine".into(), received);
    let short = Duration::from_millis(5);
    assert_eq!(answered(&mut driver, Wait::For(short)).await, short);
    assert_eq!(answered(&mut driver, Wait::For(short)).await, short);
    let rest = answered(&mut driver, Wait::Settled).await;
    assert_eq!(rest, NOBODY - short, "joins the one that goes on");
    assert_eq!(answered(&mut driver, Wait::Settled).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_was_settled_is_asked_again_on_new_links_and_after_a_sleep() {
    let (_commands, received) = mpsc::unbounded_channel();
    let mut driver = Driver::new(loopback(19_010), "vine".into(), received);
    let outage = |driver: &mut Driver| {
        driver.follow(Ok(Vec::new()), false);
        driver.let_out();
        driver.look_at_interfaces();
        driver.let_out();
    };
    let new_link = |driver: &mut Driver| {
        driver.interfaces.clear();
        driver.look_at_interfaces();
    };
    let sleep = |driver: &mut Driver| driver.woke(MINUTE);
    for happens in [&outage as &dyn Fn(&mut Driver), &new_link, &sleep] {
        answered(&mut driver, Wait::Settled).await;
        assert_eq!(answered(&mut driver, Wait::Settled).await, Duration::ZERO);
        assert!(driver.shared.service("vine", "s").is_some());
        happens(&mut driver);
        assert!(driver.shared.service("vine", "s").is_none());
        assert_eq!(answered(&mut driver, Wait::Settled).await, NOBODY);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_while_the_machine_wakes_is_told_what_is_there_afterwards() {
    let (_commands, received) = mpsc::unbounded_channel();
    let mut driver = Driver::new(loopback(19_011), "vine".into(), received);
    let began = Instant::now();
    let answer = asked(&mut driver, Wait::Settled);
    driver.let_out();
    tokio::time::advance(NOBODY / 2).await;
    driver.woke(MINUTE);
    answer_of(&mut driver, answer).await.unwrap();
    assert!(began.elapsed() >= NOBODY / 2 + NOBODY);
    assert_eq!(answered(&mut driver, Wait::Settled).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_says_how_long_to_wait_waits_no_longer_though_the_machine_wakes() {
    let (_commands, received) = mpsc::unbounded_channel();
    let mut driver = Driver::new(loopback(19_014), "vine".into(), received);
    let (began, long) = (Instant::now(), 10 * NOBODY);
    let answer = asked(&mut driver, Wait::For(long));
    driver.let_out();
    tokio::time::advance(NOBODY).await;
    driver.woke(MINUTE);
    answer_of(&mut driver, answer).await.unwrap();
    assert_eq!(began.elapsed(), long);
    assert!(driver.shared.service("vine", "s").is_none());
}

/// Six minutes without a network, in which a question is asked now and then, or never.
async fn outage(driver: &mut Driver, is_asked: bool) {
    driver.follow(Ok(Vec::new()), false);
    driver.let_out();
    for _ in 0..6 {
        tokio::time::advance(MINUTE).await;
        if is_asked {
            let answer = asked(driver, Wait::Settled);
            answer_of(driver, answer).await.unwrap_err();
        }
        driver.end_idle_browses(Instant::now());
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_in_an_outage_keeps_the_browse() {
    for is_asked in [true, false] {
        let (_commands, received) = mpsc::unbounded_channel();
        let mut driver = Driver::new(loopback(19_012), "vine".into(), received);
        driver.browse(&question());
        outage(&mut driver, is_asked).await;
        let is_open = driver.browses.is_open(&question());
        assert_eq!(is_open, is_asked, "nothing is known of it");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_in_an_outage_is_kept_to_its_end() {
    let (_commands, received) = mpsc::unbounded_channel();
    let mut driver = Driver::new(loopback(19_013), "vine".into(), received);
    driver.browse(&question());
    let mut edit = driver.view.edit("vine", "s");
    let node = Arc::new(Node::new("a", "127.0.0.1:80"));
    edit.put(Entry {
        source: Arc::new(Service::new("s", "v1")),
        node,
        changed: 1,
        tag: Holder::Other,
    });
    edit.commit();
    outage(&mut driver, false).await;
    assert!(driver.browses.is_open(&question()));
    driver.look_at_interfaces();
    driver.let_out();
    driver.end_idle_browses(Instant::now() + MINUTE);
    assert!(!driver.browses.is_open(&question()));
}

#[tokio::test]
async fn why_no_interface_will_do_says_which_addresses_were_meant() {
    let why = |options: MdnsOptions| {
        let (_commands, received) = mpsc::unbounded_channel();
        Driver::new(options, "vine".into(), received).why_unusable(&[])
    };
    let all = MdnsOptions::new();
    assert_eq!(
        why(all.clone()),
        "no network interface is up with an address"
    );
    let why = why(all.with_ipv4(false).with_interfaces(["eth7"]));
    let why = why.split_once(';').unwrap().0;
    assert_eq!(
        why,
        "none of the interfaces eth7 is up with an IPv6 address"
    );
}
