//! Processes of this program, told what to do line by line.

use std::{env, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process with a registry of its own; see [`peer`](crate::peer). Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts one that uses these servers.
    pub(crate) async fn start(addrs: &[String]) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["peer", &addrs.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut peer = Self {
            child,
            input,
            output: BufReader::new(output).lines(),
        };
        assert_eq!(peer.line().await, "ready");
        peer
    }

    /// Starts one that holds so many services.
    pub(crate) async fn holding(
        addrs: &[String],
        name: &str,
        id: &str,
        count: usize,
        ttl: u64,
    ) -> Self {
        let mut peer = Self::start(addrs).await;
        let held = peer.tell(&format!("hold {name} {id} {count} {ttl}")).await;
        assert_eq!(held, format!("held {count}"));
        peer
    }

    /// Tells it what to do, and gives its answer.
    pub(crate) async fn tell(&mut self, command: &str) -> String {
        let line = format!("{command}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
        self.line().await
    }

    /// Ends it at once, as by `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Ends it as an operator would, with SIGTERM, and waits until it has ended in order.
    pub(crate) async fn terminate(mut self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("a peer ends on SIGTERM").unwrap();
        assert!(status.success(), "the peer ended with {status}");
    }

    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.output.next_line()).await;
        let line = line.expect("a peer answers").unwrap();
        line.expect("a peer does not end unasked")
    }
}
