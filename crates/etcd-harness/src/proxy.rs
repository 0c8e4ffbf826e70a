//! A connection that can be spoilt.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::BytesMut;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{frames::Frames, ports};

/// What a [`Proxy`] does with connections, those that there are and new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on at once.
    Pass,
    /// Passes everything on this much later, in each direction.
    Delay(Duration),
    /// Keeps everything back, as a network without packets would; it comes when the mode changes.
    Hang,
    /// Keeps back what the server says.
    HangAnswers,
    /// Passes on what the client says, and throws away what the server says: the client can't
    /// know what was done.
    LoseAnswers,
    /// Resets every connection, and new ones as soon as they come.
    Reset,
    /// Resets every connection; there is no listener.
    Refuse,
}

/// What went through a [`Proxy`] since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub connections: u64,
    /// Connections that are open.
    pub open: u64,
    /// Bytes from clients.
    pub bytes_up: u64,
    /// Bytes from the server.
    pub bytes_down: u64,
    /// HTTP/2 frames from clients; meaningless with TLS.
    pub frames_up: u64,
    /// HTTP/2 frames from the server; meaningless with TLS.
    pub frames_down: u64,
    /// Streams that clients opened, that is calls; meaningless with TLS.
    pub calls: u64,
}

/// Stands in front of a server at a port of its own.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    mode: watch::Sender<Mode>,
    applied: watch::Receiver<Mode>,
    totals: Arc<Totals>,
    acceptor: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Totals {
    connections: AtomicU64,
    closed: AtomicU64,
    up: Direction,
    down: Direction,
}

#[derive(Debug, Default)]
struct Direction {
    bytes: AtomicU64,
    frames: AtomicU64,
    opening: AtomicU64,
}

/// How much may wait in a proxy for each direction of a connection, in pieces.
const PIECES: usize = 4096;

impl Proxy {
    /// A proxy to `target` (`host:port`), which passes.
    pub async fn to(target: impl Into<String>) -> Self {
        Self::listening_on(Ipv4Addr::LOCALHOST.into(), target).await
    }

    /// The same at another address of this machine.
    pub async fn listening_on(host: IpAddr, target: impl Into<String>) -> Self {
        let addr = SocketAddr::new(host, ports::free());
        let listener = TcpListener::bind(addr).await.unwrap();
        let (mode, wanted) = watch::channel(Mode::Pass);
        let (done, applied) = watch::channel(Mode::Pass);
        let totals = Arc::new(Totals::default());
        let acceptor = Acceptor {
            addr,
            target: target.into(),
            mode: wanted,
            done,
            totals: Arc::clone(&totals),
        };
        Self {
            addr,
            mode,
            applied,
            totals,
            acceptor: tokio::spawn(acceptor.run(listener)),
        }
    }

    /// Where it listens, as `127.0.0.1:port` or `[::1]:port`.
    #[must_use]
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Changes what it does; when this returns, new connections meet it.
    pub async fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
        let mut applied = self.applied.clone();
        applied.wait_for(|applied| *applied == mode).await.unwrap();
    }

    /// What went through.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Totals {
            connections,
            closed,
            up,
            down,
        } = &*self.totals;
        let closed = closed.load(Relaxed);
        let connections = connections.load(Relaxed);
        Counts {
            connections,
            open: connections - closed,
            bytes_up: up.bytes.load(Relaxed),
            bytes_down: down.bytes.load(Relaxed),
            frames_up: up.frames.load(Relaxed),
            frames_down: down.frames.load(Relaxed),
            calls: up.opening.load(Relaxed),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        // Those that are open end with it.
        self.mode.send_replace(Mode::Refuse);
    }
}

/// Closing alone is not enough: a process that is just being started may have the socket as well, for a
/// moment, and connections would go on to be accepted for it.
fn end(listener: TcpListener) {
    SockRef::from(&listener).shutdown(Shutdown::Both).unwrap();
}

struct Acceptor {
    addr: SocketAddr,
    target: String,
    mode: watch::Receiver<Mode>,
    done: watch::Sender<Mode>,
    totals: Arc<Totals>,
}

impl Acceptor {
    async fn run(mut self, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            let mode = *self.mode.borrow_and_update();
            match mode {
                Mode::Refuse => listener.take().into_iter().for_each(end),
                _ if listener.is_none() => {
                    listener = Some(TcpListener::bind(self.addr).await.unwrap());
                }
                _ => {}
            }
            self.done.send_replace(mode);
            tokio::select! {
                changed = self.mode.changed() => if changed.is_err() { return },
                Some(stream) = accept(listener.as_ref()) => self.open(stream),
            }
        }
    }

    fn open(&self, client: TcpStream) {
        self.totals.connections.fetch_add(1, Relaxed);
        let (target, mode) = (self.target.clone(), self.mode.clone());
        let totals = Arc::clone(&self.totals);
        tokio::spawn(async move {
            // An error of a connection is for its two ends to see.
            let _ended = carry(client, &target, mode, &totals).await;
            totals.closed.fetch_add(1, Relaxed);
        });
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    let (stream, _) = listener?.accept().await.ok()?;
    Some(stream)
}

/// Carries one connection until one of its ends ends it, or it is reset.
async fn carry(
    mut client: TcpStream,
    target: &str,
    mut mode: watch::Receiver<Mode>,
    totals: &Totals,
) -> io::Result<()> {
    let ends = |mode: &Mode| matches!(mode, Mode::Reset | Mode::Refuse);
    // Closing is a reset, unless both directions were closed in order before.
    client.set_zero_linger()?;
    client.set_nodelay(true)?;
    let modes = mode.clone();
    let both = async {
        let mut server = TcpStream::connect(target).await?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::try_join!(
            pump(
                from_client,
                to_server,
                modes.clone(),
                &totals.up,
                Frames::of_client()
            ),
            pump(
                from_server,
                to_client,
                modes,
                &totals.down,
                Frames::of_server()
            ),
        )?;
        Ok(())
    };
    tokio::select! {
        ended = both => ended,
        _ = mode.wait_for(ends) => Ok(()),
    }
}

/// Carries one direction. What is read waits in a queue until it is due.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
    direction: &Direction,
    mut frames: Frames,
) -> io::Result<()> {
    let upwards = frames.is_of_client();
    let modes = mode.clone();
    let (queue, mut due) = mpsc::channel::<(Instant, BytesMut)>(PIECES);
    let read = async move {
        loop {
            let mut piece = BytesMut::with_capacity(16 << 10);
            if from.read_buf(&mut piece).await? == 0 {
                return io::Result::Ok(());
            }
            let (all, opening) = frames.count(&piece);
            direction.bytes.fetch_add(piece.len() as u64, Relaxed);
            direction.frames.fetch_add(all, Relaxed);
            direction.opening.fetch_add(opening, Relaxed);
            let now = *modes.borrow();
            let delay = match now {
                Mode::Delay(delay) => delay,
                _ => Duration::ZERO,
            };
            if queue.send((Instant::now() + delay, piece)).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, piece)) = due.recv().await {
            sleep_until(at).await;
            let holds = |mode: &Mode| *mode == Mode::Hang || !upwards && *mode == Mode::HangAnswers;
            let now = mode.wait_for(|mode| !holds(mode)).await.map(|mode| *mode);
            if upwards || !matches!(now, Ok(Mode::LoseAnswers)) {
                to.write_all(&piece).await?;
            }
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(drop)
}
