//! One server process.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Client, binary};

/// One member of a [`Cluster`](crate::Cluster).
#[derive(Debug)]
pub struct Member {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) client_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) client: Client,
    process: Option<Process>,
}

impl Member {
    pub(crate) fn new(
        name: String,
        folder: PathBuf,
        client_port: u16,
        peer_port: u16,
        client: Client,
    ) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            name,
            folder,
            client_port,
            peer_port,
            client,
            process: None,
        }
    }

    /// Where it serves clients, as `127.0.0.1:port`.
    #[must_use]
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Bare calls to this member.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether its process runs; a paused one does.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Ends it at once, as by `kill -9`. Nothing if it does not run.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it from doing anything, with all its connections open, as by `kill -STOP`.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        // Its threads go on until one of them takes the signal, which may be long on a busy machine.
        while self
            .process
            .as_ref()
            .is_some_and(|process| is_going_on(process.pid()))
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// What its log ends with.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn spawn(&mut self, arguments: &[String]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        self.process = Some(Process::start(&self.folder, arguments, log));
    }

    /// What its log ends with, if it ended by itself.
    pub(crate) fn failure(&mut self) -> Option<String> {
        let status = self.process.as_mut()?.child.try_wait().unwrap()?;
        Some(format!(
            "{} ended with {status}:\n{}",
            self.name,
            self.log()
        ))
    }

    fn signal(&self, signal: Signal) {
        let Some(process) = &self.process else {
            panic!("{} does not run", self.name);
        };
        kill(process.pid(), signal).unwrap();
    }
}

/// Whether a thread of a process is not stopped, as far as the system tells: Linux does.
fn is_going_on(pid: Pid) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let mut states = threads.flatten().filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        // Behind the name, which may hold anything.
        stat.rsplit_once(") ")?.1.chars().next()
    });
    states.any(|state| !matches!(state, 'T' | 't' | 'Z' | 'X'))
}

/// A server, and a shell that kills it when this process is gone.
#[derive(Debug)]
struct Process {
    child: Child,
    /// Reads from a pipe that only this process holds open.
    guard: Child,
}

impl Process {
    fn start(folder: &Path, arguments: &[String], log: File) -> Self {
        let child = Command::new(binary::path())
            .args(arguments)
            .env_clear()
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let guard = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$0\"", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, guard }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Process {
    /// The guard first: its victim's number may be somebody else's afterwards.
    fn drop(&mut self) {
        for child in [&mut self.guard, &mut self.child] {
            // Both fail only if the process has ended, which is what is wanted.
            let _ended = child.kill();
            let _reaped = child.wait();
        }
    }
}
