//! Avahi: its daemon with a D-Bus of its own, avahi-publish and avahi-browse.
//!
//! `ip netns exec` gives a process mounts of its own, so the host's `/run` can be another one here.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader, Lines},
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

use super::foreign::{Instance, Program, Seen};
use crate::Outcome;

const TYPE: &str = "_vine._tcp";

/// The services that the daemon publishes by itself; it notices changes.
const STATIC: &str = "/etc/avahi/services";

/// How long the daemon may take to start.
const PATIENCE: Duration = Duration::from_secs(100);

const CONFIGURATION: &str = "\
[server]
host-name=avahi
use-ipv4=yes
use-ipv6=yes
ratelimit-interval-usec=1000000
ratelimit-burst=1000
entries-per-entry-group-max=4096
objects-per-client-max=4096
[publish]
publish-workstation=no
publish-hinfo=no
";

/// A bus that stays the user who it was started as: one that becomes another user would not hear of the
/// death of this process, and stay.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <auth>EXTERNAL</auth>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"#;

pub(crate) struct Avahi {
    _bus: Child,
    daemon: Child,
    published: HashMap<String, Child>,
    browsers: Vec<Child>,
}

impl Avahi {
    /// Starts a bus and a daemon, and waits until the daemon has its host name.
    pub(super) async fn start() -> Outcome<Self> {
        done("mount", &["-t", "tmpfs", "tmpfs", "/run"]).await?;
        done("mount", &["-t", "tmpfs", "tmpfs", STATIC]).await?;
        for folder in ["/run/dbus", "/run/avahi-daemon"] {
            fs::create_dir(folder).map_err(|error| format!("{folder}: {error}"))?;
        }
        let (file, bus) = ("/run/avahi.conf", "/run/bus.conf");
        for (file, text) in [(file, CONFIGURATION), (bus, BUS)] {
            fs::write(file, text).map_err(|error| format!("{file}: {error}"))?;
        }
        let bus = daemon("dbus-daemon", &["--config-file", bus, "--nofork"])
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("can't start dbus-daemon: {error}"))?;
        until_there("/run/dbus/system_bus_socket").await?;
        let without = ["--no-drop-root", "--no-chroot", "--no-rlimits"];
        let mut daemon = daemon("avahi-daemon", &[&["-f", file], &without[..]].concat())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("can't start avahi-daemon: {error}"))?;
        let lines = lines(daemon.stderr.take())?;
        until_said(lines, "Server startup complete").await?;
        Ok(Self {
            _bus: bus,
            daemon,
            published: HashMap::new(),
            browsers: Vec::new(),
        })
    }
}

impl Program for Avahi {
    async fn publish(&mut self, instance: Instance) -> Outcome {
        let subtype = instance.subtype;
        let mut child = daemon("avahi-publish", &["-s"])
            .args(subtype.map(|sub| format!("--subtype={sub}._sub.{TYPE}")))
            .args([&*instance.label, TYPE])
            .arg(instance.port.to_string())
            .args(
                instance
                    .txt
                    .iter()
                    .map(|(key, value)| format!("{key}={value}")),
            )
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("can't start avahi-publish: {error}"))?;
        let lines = lines(child.stderr.take())?;
        until_said(lines, "Established").await?;
        self.published.insert(instance.label, child);
        Ok(())
    }

    /// By files, since each avahi-publish would be a process.
    async fn publish_many(&mut self, instances: Vec<Instance>) -> Outcome {
        for (number, instance) in instances.iter().enumerate() {
            let file = format!("{STATIC}/{number}.service");
            fs::write(&file, described(instance)).map_err(|error| format!("{file}: {error}"))?;
        }
        Ok(())
    }

    async fn withdraw(&mut self, label: &str) -> Outcome {
        let child = self.published.remove(label);
        end(child.ok_or("it is not registered")?).await
    }

    fn browse(&mut self, subtype: Option<&str>) -> Outcome<UnboundedReceiver<Seen>> {
        let of = subtype.map_or_else(|| TYPE.to_owned(), |sub| format!("{sub}._sub.{TYPE}"));
        let mut child = daemon("avahi-browse", &["-r", "-p", "-k", &of])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("can't start avahi-browse: {error}"))?;
        let mut lines = lines(child.stdout.take())?;
        self.browsers.push(child);
        let (sender, receiver) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if parse(&line).is_some_and(|seen| sender.send(seen).is_err()) {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    fn process(&self) -> u32 {
        self.daemon.id().unwrap_or_default()
    }

    async fn close(self) -> Outcome {
        for child in self.published.into_values().chain(self.browsers) {
            end(child).await?;
        }
        end(self.daemon).await
    }
}

fn described(instance: &Instance) -> String {
    let subtype = instance.subtype.as_ref();
    let subtype = subtype.map(|sub| format!("<subtype>{sub}._sub.{TYPE}</subtype>"));
    let txt: String = instance
        .txt
        .iter()
        .map(|(key, value)| format!("<txt-record>{key}={value}</txt-record>"))
        .collect();
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\
        <!DOCTYPE service-group SYSTEM \"avahi-service.dtd\">\
        <service-group><name>{}</name><service><type>{TYPE}</type>{}<port>{}</port>{txt}</service></service-group>",
        instance.label,
        subtype.unwrap_or_default(),
        instance.port
    )
}

/// A line of `avahi-browse -p`: `=;eth0;IPv4;label;type;local;host;address;port;"key=value" ...`.
fn parse(line: &str) -> Option<Seen> {
    let fields: Vec<&str> = line.splitn(10, ';').collect();
    match fields[..] {
        ["=", _, "IPv4", label, _, _, _, address, port, txt] => Some(Seen::Resolved {
            label: label.to_owned(),
            host: address.to_owned(),
            port: port.parse().ok()?,
            txt: pairs(txt),
        }),
        ["-", _, "IPv4", label, ..] => Some(Seen::Removed {
            label: label.to_owned(),
        }),
        _ => None,
    }
}

fn pairs(txt: &str) -> BTreeMap<String, String> {
    let strings = txt.trim_matches('"').split("\" \"");
    let pairs = strings.filter_map(|string| string.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A program that ends with this one, however that ends.
fn daemon(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", program])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command
}

async fn done(program: &str, arguments: &[&str]) -> Outcome {
    let status = Command::new(program).args(arguments).status().await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}")),
        Err(error) => Err(format!("can't run {program}: {error}")),
    }
}

async fn end(mut child: Child) -> Outcome {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|error| error.to_string())?;
    }
    child.wait().await.map_err(|error| error.to_string())?;
    Ok(())
}

fn lines<R: AsyncRead + Unpin>(output: Option<R>) -> Outcome<Lines<BufReader<R>>> {
    let output = output.ok_or("a program without output")?;
    Ok(BufReader::new(output).lines())
}

/// Waits until a program says something, and goes on reading, so that it can go on saying.
async fn until_said<R>(mut lines: Lines<BufReader<R>>, text: &str) -> Outcome
where
    R: AsyncRead + Unpin + Send + 'static,
{
    let mut said = String::new();
    let until = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains(text) {
                return Ok(());
            }
            said = line;
        }
        Err("it ended".to_owned())
    };
    let outcome = timeout(PATIENCE, until).await;
    let outcome = outcome.unwrap_or_else(|_| Err(format!("not within {PATIENCE:?}")));
    outcome.map_err(|why| format!("waited for {text:?}: {why}; it said {said:?}"))?;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(())
}

async fn until_there(file: &str) -> Outcome {
    let there = async {
        while !Path::new(file).exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let outcome = timeout(PATIENCE, there).await;
    outcome.map_err(|_| format!("{file} does not appear"))
}
