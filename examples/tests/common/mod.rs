//! Examples as processes: started on loopback, each test on an mDNS port of its own.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::{
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};
use vine::{Options, Registries, Registry};

/// More than anything here takes on a busy machine; reached only when a test fails.
pub(crate) const LONG: Duration = Duration::from_secs(100);

/// Where processes of one test meet, and no others.
pub(crate) struct Meeting {
    port: u16,
    /// Keeps other tests from the same UDP port.
    _mark: TcpListener,
}

impl Meeting {
    pub(crate) fn new() -> Self {
        // Below those that a system gives to whoever asks for any: one of those could be given to somebody
        // else between two processes of the test.
        let mut ports = 17_000..18_000;
        let free = ports.find_map(|port| {
            let _mark = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).ok()?;
            Some(Self { port, _mark })
        });
        free.expect("a free port")
    }

    /// The flags that bring a process there.
    pub(crate) fn flags(&self) -> Vec<String> {
        vec![
            "--registry.default=mdns".into(),
            format!("--registry.mdns.port={}", self.port),
            "--registry.mdns.interface=lo".into(),
            "--server.address=127.0.0.1:0".into(),
        ]
    }

    /// A registry of this process's own there.
    pub(crate) fn registry(&self) -> Arc<dyn Registry> {
        let options = Options::new()
            .with_parameter("port", self.port.to_string())
            .with_parameter("interface", "lo");
        Registries::new().open("mdns", options).expect("a registry")
    }
}

/// An example that runs.
pub(crate) struct Process {
    child: Child,
    /// None once nobody reads it any more.
    stdout: Option<Lines<BufReader<ChildStdout>>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Process {
    pub(crate) fn start(example: &str, flags: &[String]) -> Self {
        let mut child = command(example)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a process");
        Self {
            stdout: child.stdout.take().map(|pipe| BufReader::new(pipe).lines()),
            stderr: BufReader::new(child.stderr.take().expect("piped")).lines(),
            child,
        }
    }

    /// Reads no more of what it prints, as `head` does that has enough.
    pub(crate) fn is_not_read(&mut self) {
        self.stdout = None;
    }

    /// Reads what it prints up to a line that holds `text`.
    pub(crate) async fn prints(&mut self, text: &str) -> String {
        match read_to(self.stdout.as_mut().expect("read"), text).await {
            Ok(read) => read,
            Err(printed) => {
                self.child.start_kill().expect("it can be ended");
                let (Ok(logged) | Err(logged)) = read_to(&mut self.stderr, "\n").await;
                panic!("no {text:?} in:\n{printed}and on standard error:\n{logged}");
            }
        }
    }

    /// Reads what it logs up to a line that holds `text`.
    pub(crate) async fn logs(&mut self, text: &str) -> String {
        let read = read_to(&mut self.stderr, text).await;
        read.unwrap_or_else(|logged| panic!("no {text:?} in:\n{logged}"))
    }

    /// Sends a signal, for instance `TERM`.
    pub(crate) async fn signal(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {id}")])
            .status()
            .await;
        assert!(sent.expect("a shell").success());
    }

    /// Reads what it prints until it ends.
    pub(crate) async fn ends_while_printing(&mut self) -> ExitStatus {
        let _printed = read_to(self.stdout.as_mut().expect("read"), "\n").await;
        self.end().await
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        timeout(LONG, self.child.wait())
            .await
            .expect("in time")
            .expect("a status")
    }
}

/// An example's program, as cargo has built it beside this test.
pub(crate) fn command(example: &str) -> Command {
    let test = std::env::current_exe().expect("a path");
    let built = test.ancestors().nth(2).expect("a folder");
    let program: PathBuf = built.join("examples").join(example);
    assert!(
        program.exists(),
        "{} is not built; run cargo test -p vine-examples, which builds the examples first",
        program.display()
    );
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VINE_") {
            command.env_remove(name);
        }
    }
    command
}

/// What was read, with a line that holds `text` at its end, or without one.
async fn read_to<R>(lines: &mut Lines<BufReader<R>>, text: &str) -> Result<String, String>
where
    R: AsyncRead + Unpin,
{
    let mut read = String::new();
    let found = timeout(LONG, async {
        while let Some(line) = lines.next_line().await.expect("text") {
            read += &line;
            read.push('\n');
            if line.contains(text) {
                return true;
            }
        }
        false
    });
    match found.await {
        Ok(true) => Ok(read),
        _ => Err(read),
    }
}
