//! A folder that goes with its process, however that ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// A folder for temporary files, removed when it is dropped, or else by a shell when this process is gone:
/// what stands in a static is never dropped, and who is killed drops nothing.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Reads from a pipe that only this process holds open.
    guard: Child,
}

/// Servers may go on writing until their own guards have killed them: so more than once, for five seconds.
/// Ctrl-C in a terminal reaches the shell, too, and is not meant for it.
const REMOVE: &str = r#"
    trap '' HUP INT TERM
    read -r _
    tries=50
    until rm -rf -- "$0" 2>/dev/null; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || exit 1
        sleep 0.1
    done
"#;

impl Folder {
    /// A new one, whose name begins with `prefix`.
    pub(crate) fn new(prefix: &str) -> Self {
        let path = TempDir::with_prefix(prefix).unwrap().keep();
        let guard = Command::new("sh")
            .args(["-c", REMOVE])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { path, guard }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What a panic leaves behind, the guard removes.
        let removed = fs::remove_dir_all(&self.path);
        if removed.is_ok() {
            // Fails only if it has ended, which is what is wanted.
            let _ended = self.guard.kill();
        }
        drop(self.guard.stdin.take());
        let _reaped = self.guard.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        io::{self, BufRead, BufReader, Write},
        thread::{park, sleep},
        time::Duration,
    };

    use super::*;

    const VICTIM: &str = "VINE_HARNESS_VICTIM";

    /// The test starts itself as the process that is killed.
    #[test]
    fn it_goes_with_a_process_that_is_killed() {
        if env::var_os(VICTIM).is_some() {
            let folder = Folder::new("vine-victim-");
            fs::write(folder.path().join("file"), "content").unwrap();
            writeln!(io::stdout(), "\nfolder={}", folder.path().display()).unwrap();
            loop {
                park();
            }
        }
        let mut victim = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("folder::tests::it_goes_with_a_process_that_is_killed")
            .env(VICTIM, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let mut told =
            lines.filter_map(|line| Some(line.unwrap().strip_prefix("folder=")?.to_owned()));
        let path = PathBuf::from(told.next().unwrap());
        assert!(path.join("file").exists());
        victim.kill().unwrap();
        victim.wait().unwrap();
        // A minute.
        for _ in 0..12_000 {
            if !path.exists() {
                return;
            }
            sleep(Duration::from_millis(5));
        }
        panic!("{} is left", path.display());
    }

    #[test]
    fn it_goes_when_it_is_dropped() {
        let folder = Folder::new("vine-dropped-");
        let path = folder.path().to_owned();
        fs::write(path.join("file"), "content").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
