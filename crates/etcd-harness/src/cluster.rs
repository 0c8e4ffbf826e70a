//! Servers that belong together.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{Certificates, Client, Member, binary, folder::Folder, ports};

/// How to start a [`Cluster`].
#[derive(Debug)]
#[must_use]
pub struct ClusterOptions {
    members: usize,
    certificates: Option<Certificates>,
    mutual: bool,
    arguments: Vec<String>,
}

impl ClusterOptions {
    /// One member, plain text.
    pub fn new() -> Self {
        Self {
            members: 1,
            certificates: None,
            mutual: false,
            arguments: Vec::new(),
        }
    }

    /// Sets how many members there are.
    pub fn with_members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }

    /// Serves clients by TLS with the server's certificate of these.
    pub fn with_tls(mut self, certificates: &Certificates) -> Self {
        self.certificates = Some(certificates.clone());
        self
    }

    /// Serves only clients whose certificate is of the same authority.
    pub fn with_mutual_tls(mut self, certificates: &Certificates) -> Self {
        self.mutual = true;
        self.with_tls(certificates)
    }

    /// Adds a flag to the command line of each member, for instance `--auth-token-ttl=2`.
    pub fn with_argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Real servers; killed, and their data removed, when it is dropped or this process is gone.
pub struct Cluster {
    pub(crate) members: Vec<Member>,
    options: ClusterOptions,
    /// Tells this cluster from one made anew of the same members.
    generation: u32,
    folder: Folder,
}

/// A server that is not ready by then never will be.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a server that is starting.
const PAUSE: Duration = Duration::from_millis(10);

impl Cluster {
    /// Starts it, and waits until every member serves.
    pub async fn start(options: ClusterOptions) -> Self {
        let mut options = options;
        let mut failure = String::new();
        // Another process may take a port between the choice and the server's start.
        for _ in 0..5 {
            let mut cluster = Self::new(options);
            cluster.spawn_all();
            match cluster.ready().await {
                Ok(()) => return cluster,
                Err(error) => failure = error,
            }
            assert!(failure.contains("address already in use"), "{failure}");
            options = std::mem::take(&mut cluster.options);
        }
        panic!("{failure}");
    }

    /// One member.
    pub async fn single() -> Self {
        Self::start(ClusterOptions::new()).await
    }

    /// Three members.
    pub async fn three() -> Self {
        Self::start(ClusterOptions::new().with_members(3)).await
    }

    /// Where its members serve clients, as `127.0.0.1:port`.
    #[must_use]
    pub fn addrs(&self) -> Vec<String> {
        self.members.iter().map(Member::addr).collect()
    }

    /// How many members it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// One member.
    #[must_use]
    pub fn member(&self, index: usize) -> &Member {
        &self.members[index]
    }

    /// One member, to kill it.
    pub fn member_mut(&mut self, index: usize) -> &mut Member {
        &mut self.members[index]
    }

    /// Bare calls to the first member that runs.
    #[must_use]
    pub fn client(&self) -> &Client {
        let running = self.members.iter().find(|member| member.is_running());
        running.unwrap_or(&self.members[0]).client()
    }

    /// Kills every member, as by `kill -9`.
    pub fn kill(&mut self) {
        self.members.iter_mut().for_each(Member::kill);
    }

    /// Starts every member that does not run, and waits until all serve.
    pub async fn restart(&mut self) {
        self.spawn_all();
        self.serving().await;
    }

    /// Waits until every member serves and knows a leader.
    pub async fn serving(&mut self) {
        if let Err(failure) = self.ready().await {
            panic!("{failure}");
        }
    }

    /// Makes every data directory empty; the members must have been killed. It is another cluster
    /// when it starts again, with a revision of 1.
    pub fn wipe(&mut self) {
        self.generation += 1;
        for member in &self.members {
            assert!(!member.is_running(), "{} runs", member.name);
            std::fs::remove_dir_all(member.data()).unwrap();
        }
    }

    /// Which member leads; waits until one does that runs.
    pub async fn leader(&self) -> usize {
        let leader = async || {
            for member in self.members.iter().filter(|member| member.is_running()) {
                let Ok(status) = member.client.status().await else {
                    continue;
                };
                for (index, other) in self.members.iter().enumerate() {
                    if other.is_running()
                        && let Ok(other) = other.client.status().await
                        && other.header.map(|header| header.member_id) == Some(status.leader)
                    {
                        return Some(index);
                    }
                }
            }
            None
        };
        awaited("a leader", leader).await
    }

    fn new(options: ClusterOptions) -> Self {
        let folder = Folder::new("vine-etcd-");
        let (auth, certificates) = (Arc::default(), options.certificates.as_ref());
        let members = (0..options.members)
            .map(|index| {
                let (name, port) = (format!("m{index}"), ports::free());
                let path = folder.path().join(&name);
                let client = Client::new(&format!("127.0.0.1:{port}"), certificates, &auth);
                Member::new(name, path, port, ports::free(), client)
            })
            .collect();
        Self {
            members,
            options,
            generation: 0,
            folder,
        }
    }

    fn spawn_all(&mut self) {
        let all: Vec<_> = (0..self.members.len())
            .map(|index| self.arguments(index))
            .collect();
        for (member, arguments) in self.members.iter_mut().zip(all) {
            if !member.is_running() {
                member.spawn(&arguments);
            }
        }
    }

    async fn ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        for index in 0..self.members.len() {
            loop {
                if let Some(failure) = self.members.iter_mut().find_map(Member::failure) {
                    return Err(failure);
                }
                let member = &self.members[index];
                if member.client.serves().await {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(format!("{} does not serve:\n{}", member.name, member.log()));
                }
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    fn arguments(&self, index: usize) -> Vec<String> {
        let member = &self.members[index];
        let peer = |member: &Member| format!("http://127.0.0.1:{}", member.peer_port);
        let scheme = self
            .options
            .certificates
            .as_ref()
            .map_or("http", |_| "https");
        let client = format!("{scheme}://{}", member.addr());
        let all: Vec<_> = self
            .members
            .iter()
            .map(|member| format!("{}={}", member.name, peer(member)))
            .collect();
        let mut arguments = vec![
            format!("--name={}", member.name),
            format!("--data-dir={}", member.data().display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={}", peer(member)),
            format!("--initial-advertise-peer-urls={}", peer(member)),
            format!("--initial-cluster={}", all.join(",")),
            format!("--initial-cluster-token=vine-{}", self.generation),
            "--logger=zap".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        if binary::understands("--unsafe-no-fsync") {
            arguments.push("--unsafe-no-fsync".to_owned());
        }
        if let Some(certificates) = &self.options.certificates {
            let (cert, key, ca) = certificates.write(self.folder.path());
            arguments.push(format!("--cert-file={}", cert.display()));
            arguments.push(format!("--key-file={}", key.display()));
            if self.options.mutual {
                arguments.push(format!("--trusted-ca-file={}", ca.display()));
                arguments.push("--client-cert-auth".to_owned());
            }
        }
        arguments.extend(self.options.arguments.iter().cloned());
        arguments
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("addrs", &self.addrs())
            .finish_non_exhaustive()
    }
}

/// Asks again until there is an answer.
pub(crate) async fn awaited<T, F: Future<Output = Option<T>>>(
    what: &str,
    question: impl Fn() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = question().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        sleep(PAUSE).await;
    }
}
