use clap::{CommandFactory, Parser};

use super::*;

/// As hostile as a user's command line gets: fields and flags named like ours.
#[derive(Debug, Parser)]
#[command(name = "mine", about = "About mine")]
struct Mine {
    #[command(flatten)]
    vine: Flags,
    /// Its own help
    #[arg(long)]
    name: Option<String>,
    #[arg(long, short)]
    address: Option<String>,
    #[arg(long)]
    version: Option<String>,
    #[arg(long)]
    default: Option<String>,
    #[arg(long)]
    registry: Option<String>,
    #[arg(long)]
    level: Option<String>,
}

#[test]
fn flattens_beside_fields_of_the_same_name() {
    Mine::command().debug_assert();
    let mine = Mine::parse_from([
        "mine",
        "--name=a",
        "--server.name=b",
        "--address=c",
        "--registry.address=d",
        "--server.address=e",
        "--version=f",
        "--server.version=g",
    ]);
    assert_eq!(mine.name.as_deref(), Some("a"));
    assert_eq!(mine.vine.server.name.as_deref(), Some("b"));
    assert_eq!(mine.address.as_deref(), Some("c"));
    assert_eq!(mine.vine.registry.address, ["d"]);
    assert_eq!(mine.vine.server.address.as_deref(), Some("e"));
    assert_eq!(mine.version.as_deref(), Some("f"));
    assert_eq!(mine.vine.server.version.as_deref(), Some("g"));
}

#[test]
fn help_has_headings_of_its_own() {
    let help = Mine::command().render_help().to_string();
    assert!(help.starts_with("About mine\n"), "{help}");
    let (own, ours) = help.split_once("Registry:").expect("a heading");
    assert!(
        own.contains("--name") && own.contains("Its own help"),
        "{help}"
    );
    assert!(
        !own.contains("--registry.") && !own.contains("--server."),
        "{help}"
    );
    assert!(ours.contains("Server:") && ours.contains("Log:"), "{help}");
    assert!(!help.contains("--registy"), "{help}");
}

#[test]
fn every_flag_is_an_environment_variable() {
    let command = Mine::command();
    let ours: Vec<_> = command
        .get_arguments()
        .filter(|arg| arg.get_id().as_str().contains('.'))
        .collect();
    assert!(ours.len() >= 20);
    for arg in ours {
        let id = arg.get_id().as_str();
        let expected = format!("VINE_{}", id.to_uppercase().replace(['.', '-'], "_"));
        assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(&*expected));
        assert_eq!(arg.get_long(), Some(id));
    }
}

fn registry(args: &[&str]) -> Result<std::sync::Arc<dyn crate::Registry>, String> {
    let mine = Mine::try_parse_from([&["mine"], args].concat()).map_err(|e| one_line(&e))?;
    let registry = mine.vine.registry.open(&crate::Registries::new());
    registry.map_err(|error| error.to_string())
}

#[test]
fn both_spellings_choose_the_engine() {
    for flag in ["--registry.default=memory", "--registy.default=memory"] {
        assert_eq!(
            registry(&[flag]).map(|r| r.name().to_owned()),
            Ok("memory".into())
        );
    }
}

#[test]
fn flags_become_options() {
    let registry = registry(&[
        "--registry.default=memory",
        "--registry.namespace=test",
        "--registry.timeout=500ms",
        "--registry.secure",
    ])
    .expect("a registry");
    let options = registry.options();
    assert_eq!(&*options.namespace, "test");
    assert_eq!(options.timeout, std::time::Duration::from_millis(500));
    assert!(options.secure);
}

#[test]
fn a_url_says_it_all() {
    let registry = registry(&["--registry.address=memory:///test"]).expect("a registry");
    assert_eq!(registry.name(), "memory");
    assert_eq!(&*registry.options().namespace, "test");
}

#[cfg(feature = "mdns")]
#[test]
fn mdns_is_the_default_and_has_flags_of_its_own() {
    let registry = registry(&[
        "--registry.mdns.port=5454",
        "--registry.mdns.interface=lo,eth0",
    ])
    .expect("a registry");
    assert_eq!(registry.name(), "mdns");
    let parameters = &registry.options().parameters;
    assert_eq!(parameters["port"], "5454");
    assert_eq!(parameters["interface"], "lo,eth0");
}

#[cfg(feature = "etcd")]
#[test]
fn etcd_has_flags_of_its_own_and_secrets_in_files() {
    let file = std::env::temp_dir().join(format!("vine-password-{}", std::process::id()));
    std::fs::write(&file, "secret\n").expect("a file");
    let password = format!("--registry.etcd.password=@{}", file.display());
    let registry = registry(&[
        "--registry.address=etcd://me@10.0.0.7,[fd00::7]:2380/test?layout=vine",
        "--registry.etcd.layout=vine-1.5",
        "--registry.etcd.lease-ttl=15s",
        &password,
    ]);
    std::fs::remove_file(&file).expect("no file");
    let registry = registry.expect("a registry");
    assert_eq!(registry.name(), "etcd");
    let options = registry.options();
    assert_eq!(options.addrs, ["10.0.0.7", "[fd00::7]:2380"]);
    assert_eq!(options.parameters["layout"], "vine-1.5");
    assert_eq!(options.parameters["lease-ttl"], "15s");
    let credentials = options.credentials.as_ref().expect("credentials");
    assert_eq!(
        (&*credentials.username, &*credentials.password),
        ("me", "secret")
    );
    assert!(!format!("{registry:?}").contains("secret"));
}

#[cfg(feature = "etcd")]
#[test]
fn half_of_an_identity_is_refused() {
    for (args, flag) in [
        (
            &["--registry.default=etcd", "--registry.etcd.username=me"][..],
            "registry.etcd.password",
        ),
        (
            &["--registry.default=etcd", "--registry.etcd.password=x"],
            "registry.etcd.username",
        ),
        (
            &["--registry.address=etcd://you@h"][..],
            "registry.etcd.password",
        ),
        (
            &[
                "--registry.address=etcd://you:x@h",
                "--registry.etcd.username=me",
            ],
            "--registry.address",
        ),
        (
            &[
                "--registry.default=etcd",
                "--registry.etcd.username=me",
                "--registry.etcd.password=@/nosuch",
            ],
            "/nosuch",
        ),
    ] {
        let error = registry(args).expect_err("an error").to_string();
        assert!(error.contains(flag), "{error}");
    }
}

#[test]
fn booleans_take_the_usual_words_and_none() {
    for (flag, expected) in [
        ("--registry.secure", true),
        ("--registry.secure=1", true),
        ("--registry.secure=yes", true),
        ("--registry.secure=true", true),
        ("--registry.secure=0", false),
        ("--registry.secure=no", false),
        ("--registry.secure=false", false),
    ] {
        let mine = Mine::try_parse_from(["mine", flag]).expect("a bool");
        assert_eq!(mine.vine.registry.secure, Some(expected), "{flag}");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_the_remedy() {
    for (args, field, remedy) in [
        (
            &["--registry.default=nosuch"][..],
            "registry.default",
            "memory",
        ),
        (
            &["--registry.default=mdns", "--registry.address=memory:"],
            "registry.default",
            "leave out",
        ),
        (
            &["--registry.namespace=a", "--registry.address=memory:///b"],
            "registry.namespace",
            "leave out",
        ),
        (
            &["--registry.address=memory:", "--registry.address=host:1"],
            "registry.address",
            "one URL alone",
        ),
        (&["--registry.address=nosuch://h"], "nosuch", "memory"),
        (
            &["--registry.address=memory:///a/b"],
            "registry.address",
            "segment",
        ),
        (&["--registry.timeout=5"], "--registry.timeout", "30s"),
        (&["--registry.secure=maybe"], "--registry.secure", "boolean"),
        (&["--registry.option=x"], "--registry.option", "key=value"),
        (
            &["--registry.adress=x"],
            "--registry.adress",
            "--registry.address",
        ),
        (&["--log.level=loud"], "--log.level", "info"),
        (&["--registry.tls-ca=/no/such"], "registry.tls-ca", "PEM"),
        (
            &["--registry.tls-cert=/no/such"],
            "registry.tls-cert",
            "registry.tls-key",
        ),
        (
            &["--registry.tls-ca=x", "--registry.secure=no"],
            "registry.secure",
            "leave out",
        ),
    ] {
        let message = registry(args).expect_err("an error");
        assert!(!message.contains('\n'), "{message}");
        assert!(
            message.contains(field) && message.contains(remedy),
            "{message}"
        );
    }
}

#[test]
fn secrets_do_not_show() {
    let mine = Mine::parse_from([
        "mine",
        "--registry.address=etcd://root:hunter2@host/",
        "--registry.option=token=hunter2",
        "--registry.mdns.key=k1:hunter2",
    ]);
    let mdns = &mine.vine.registry.mdns;
    assert!(!format!("{mine:?} {mdns:?}").contains("hunter2"));
}

/// Runs an app to its start, as the command line wants it.
async fn started(builder: crate::AppBuilder, args: &[&str]) -> crate::App {
    let mine = Mine::parse_from([&["mine", "--server.address=127.0.0.1:0"], args].concat());
    let (tell, told) = tokio::sync::oneshot::channel();
    builder
        .flags(&mine.vine)
        .after_start(|app| async move {
            app.stop();
            tell.send(app).map_err(|_| "nobody asked".into())
        })
        .run_until(std::future::pending(), |_listener, shutdown| async {
            shutdown.wait().await;
            std::io::Result::Ok(())
        })
        .await
        .expect("a good end");
    told.await.expect("an app")
}

#[tokio::test(start_paused = true)]
async fn what_is_given_wins_over_what_the_program_says() {
    let builder = crate::App::builder("name")
        .version("v1")
        .id("id")
        .node_metadata([("kept", "1"), ("lost", "1")])
        .registry(crate::MemoryRegistry::new());
    let app = started(
        builder,
        &[
            "--server.name=given",
            "--server.version=v2",
            "--server.id=other",
            "--server.advertise=10.1.2.3:4",
            "--server.metadata=lost=2,vine.zone=north",
            "--server.register-ttl=30s",
            "--registry.default=memory",
            "--registry.namespace=theirs",
        ],
    )
    .await;
    assert_eq!(&*app.service().name, "given");
    assert_eq!(&*app.service().version, "v2");
    assert_eq!(&*app.node().id, "other");
    assert_eq!(&*app.node().address, "10.1.2.3:4");
    let metadata: Vec<_> = app.node().metadata.iter().collect();
    assert_eq!(
        metadata,
        [("kept", "1"), ("lost", "2"), ("vine.zone", "north")]
    );
    assert_eq!(&*app.registry().options().namespace, "theirs");
}

#[tokio::test(start_paused = true)]
async fn the_programs_registry_stays_unless_the_flags_choose_another() {
    let options = crate::Options::new().with_namespace("mine");
    let registry = crate::MemoryRegistry::with_options(options).expect("a registry");
    let builder = crate::App::builder("name").registry(registry);
    let app = started(builder, &["--registry.namespace=theirs"]).await;
    assert_eq!(&*app.registry().options().namespace, "mine");
    assert_eq!(&*app.service().name, "name");
}
