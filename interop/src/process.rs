//! Processes of this program on other hosts, told what to do line by line.

use std::{env, ffi::OsStr, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{Outcome, network::Host, peer::Kind, size::Size};

/// How long any answer may take, on a machine that has other things to do; less than a node without a
/// ttl stays that nobody answers for.
const PATIENCE: Duration = Duration::from_secs(110);

/// A Python that has zeroconf.
const PYTHON: &str = "VINE_INTEROP_PYTHON";

/// This program, to be run on a host. Dropping what it becomes kills it.
pub(crate) fn on(host: &Host, arguments: &[&str]) -> Outcome<Command> {
    let program = env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let mut command = run(host, program);
    command.args(arguments);
    Ok(command)
}

/// A program, to be run on a host.
fn run(host: &Host, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", &host.namespace])
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn command(host: &Host, kind: Kind) -> Outcome<Command> {
    if kind != Kind::Zeroconf {
        return on(host, &["peer", kind.name()]);
    }
    let python = env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
    let mut command = run(host, python);
    command.args(["-c", include_str!("peer/zeroconf.py")]);
    Ok(command)
}

/// A process that registers and finds; see [`peer`](crate::peer).
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts one with our registry, which has not opened anything yet.
    pub(crate) async fn start(host: &Host) -> Outcome<Self> {
        Self::start_as(host, Kind::Vine).await
    }

    /// Starts one, ours or a foreign one.
    pub(crate) async fn start_as(host: &Host, kind: Kind) -> Outcome<Self> {
        let mut child = command(host, kind)?
            .spawn()
            .map_err(|error| format!("can't start a peer: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a peer without pipes".to_owned());
        };
        let mut peer = Self {
            child,
            input,
            output: BufReader::new(output).lines(),
        };
        let ready = peer.expect("ready").await;
        ready.map_err(|error| {
            let name = kind.name();
            format!("{name}: {error}; see DEVELOPERS.md for what has to be installed")
        })?;
        Ok(peer)
    }

    /// Tells it what to do, and gives its answer.
    pub(crate) async fn tell(&mut self, command: &str) -> Outcome<String> {
        let line = format!("{command}\n");
        let written = self.input.write_all(line.as_bytes()).await;
        written.map_err(|error| format!("{command}: the peer is gone: {error}"))?;
        let answer = self.line().await?;
        match answer.strip_prefix("error ") {
            Some(error) => Err(format!("{command}: {error}")),
            None => Ok(answer),
        }
    }

    /// The next line that it says.
    pub(crate) async fn line(&mut self) -> Outcome<String> {
        match timeout(PATIENCE, self.output.next_line()).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None)) => Err("the peer ended unasked".to_owned()),
            Ok(Err(error)) => Err(format!("can't read from the peer: {error}")),
            Err(_) => Err(format!("the peer says nothing for {PATIENCE:?}")),
        }
    }

    /// Waits for a line that begins so, and gives the rest.
    pub(crate) async fn expect(&mut self, beginning: &str) -> Outcome<String> {
        let line = self.line().await?;
        match line.strip_prefix(beginning) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(format!("expected {beginning:?}, the peer said {line:?}")),
        }
    }

    /// How large it is at present.
    pub(crate) async fn size(&mut self) -> Outcome<Size> {
        let answer = self.tell("sized").await?;
        let pid = answer.strip_prefix("sized ").unwrap_or_default();
        Size::of(pid).ok_or_else(|| format!("can't tell how large process {pid} is"))
    }

    /// Ends it with SIGKILL, so that it says nothing more.
    pub(crate) async fn kill(&mut self) -> Outcome {
        let killed = self.child.kill().await;
        killed.map_err(|error| format!("can't kill the peer: {error}"))
    }

    /// Ends it as an operator would, with SIGTERM, and waits until it has ended.
    pub(crate) async fn terminate(&mut self) -> Outcome {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.ok_or("the peer has ended already")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|error| error.to_string())?;
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("the peer ended with {status}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the peer does not end on SIGTERM".to_owned()),
        }
    }
}
