//! Runs the program, never waiting for ever.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// Longer than anything takes that goes well, on a busy machine, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// The program with these words behind it, and with nothing from the environment.
pub(crate) fn vine(words: &str) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("vine"));
    command
        .env_clear()
        .args(words.split_whitespace())
        .stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    Running::start(command).end()
}

/// How a process ended, and what it printed that was not read before.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A process, ended with the test at the latest.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_into(command, Stdio::piped())
    }

    /// Starts a process with this standard output.
    pub(crate) fn start_into(command: &mut Command, stdout: impl Into<Stdio>) -> Self {
        let mut child = command
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdout: lines(child.stdout.take()),
            stderr: lines(child.stderr.take()),
            child,
        }
    }

    /// The next line that it prints.
    pub(crate) fn line(&self) -> String {
        self.stdout.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            let stderr: String = self.stderr.try_iter().collect();
            panic!("no line within {PATIENCE:?}: {error}; standard error: {stderr}")
        })
    }

    /// Waits until it says something like this on standard error.
    #[cfg(unix)]
    pub(crate) fn complains(&self, like: &str) {
        while !self
            .stderr
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("no {like:?} within {PATIENCE:?}: {error}"))
            .contains(like)
        {}
    }

    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(mut self) -> Ended {
        let stdout = to_the_end(&self.stdout);
        let stderr = to_the_end(&self.stderr);
        Ended {
            code: self.child.wait().unwrap().code(),
            stdout,
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both mean nothing where the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn to_the_end(lines: &Receiver<String>) -> String {
    let mut text = String::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => text.push_str(&line),
            Err(RecvTimeoutError::Disconnected) => return text,
            Err(RecvTimeoutError::Timeout) => panic!("it did not end; it printed: {text}"),
        }
    }
}

fn lines(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    let Some(pipe) = pipe else { return receiver };
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = String::new();
        while pipe.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}
