//! An etcd of one member, for one test program.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Ends when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    _data: TempDir,
}

impl Server {
    /// Starts one and waits until it answers.
    pub(crate) fn start() -> Self {
        let data = TempDir::new().expect("a folder");
        let ports: Vec<_> = (0..2)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
            .collect();
        let [client, peer] =
            [&ports[0], &ports[1]].map(|port| port.local_addr().expect("an address"));
        drop(ports);
        let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
        let child =
            Command::new(etcd_bin_vendored::etcd_bin_path().expect("etcd for this machine"))
                .args(["--name=one", "--log-level=error", "--unsafe-no-fsync"])
                .arg(format!("--data-dir={}", data.path().display()))
                .arg(format!("--listen-client-urls={client_url}"))
                .arg(format!("--advertise-client-urls={client_url}"))
                .arg(format!("--listen-peer-urls={peer_url}"))
                .arg(format!("--initial-advertise-peer-urls={peer_url}"))
                .arg(format!("--initial-cluster=one={peer_url}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("etcd starts");
        let server = Self {
            child,
            address: client.to_string(),
            _data: data,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(client).is_err() {
            assert!(Instant::now() < deadline, "etcd does not listen");
            sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
