//! Nodes as processes of this program.

use std::{
    env,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::stage::{PATIENCE, Stage};

/// One node, as a process. Dropping it kills it.
pub(crate) struct NodeProcess {
    pub(crate) id: String,
    child: Child,
}

impl NodeProcess {
    /// Starts one with an id of its own.
    pub(crate) fn start(stage: &Stage, version: &str, delay: u64) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let id = format!("n{}", STARTED.fetch_add(1, Ordering::Relaxed));
        Self::with_id(stage, &id, version, delay)
    }

    /// Starts one with this id, whoever else has it.
    pub(crate) fn with_id(stage: &Stage, id: &str, version: &str, delay: u64) -> Self {
        let delay = delay.to_string();
        let mut node = command(&["node", &stage.word, &stage.service, id, version, &delay]);
        Self {
            id: id.to_owned(),
            child: node.spawn().unwrap(),
        }
    }

    /// Ends it at once, as by `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Tells it to end, as an operator would.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().unwrap().cast_signed();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    }

    /// Ends it as an operator would, and waits until it has ended in good order.
    pub(crate) async fn stop(mut self) {
        self.terminate();
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.expect("a node ends on SIGTERM").unwrap();
        assert!(status.success(), "node {} ended with {status}", self.id);
    }
}

/// Starts so many alike.
pub(crate) fn start(stage: &Stage, count: usize, version: &str) -> Vec<NodeProcess> {
    let node = |_| NodeProcess::start(stage, version, 0);
    (0..count).map(node).collect()
}

/// Ends all in good order, at a time.
pub(crate) async fn stop(nodes: Vec<NodeProcess>) {
    for node in &nodes {
        node.terminate();
    }
    for mut node in nodes {
        let status = timeout(PATIENCE, node.child.wait()).await;
        let status = status.expect("a node ends on SIGTERM").unwrap();
        assert!(status.success(), "node {} ended with {status}", node.id);
    }
}

/// A process with many nodes. Dropping it kills it.
pub(crate) struct Farm {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Farm {
    /// Starts one without nodes, whose ids will begin so.
    pub(crate) fn start(stage: &Stage, prefix: &str) -> Self {
        let mut child = command(&["farm", &stage.word, &stage.service, prefix])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            _child: child,
        }
    }

    /// Starts or stops nodes until there are so many; waits until it is done.
    pub(crate) async fn scale(&mut self, nodes: usize) {
        let line = format!("{nodes}\n");
        self.input.write_all(line.as_bytes()).await.unwrap();
        let answer = timeout(PATIENCE, self.output.next_line()).await;
        let answer = answer.expect("a farm answers").unwrap();
        assert_eq!(answer, Some(nodes.to_string()));
    }
}

/// This program, told to be something else.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(arguments).kill_on_drop(true);
    command
}
