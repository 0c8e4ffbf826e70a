use std::{future::pending, io, pin::Pin};

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// Something that asks an app to end: the first time in good order, the second time at once.
pub(super) trait Requests {
    /// Waits for the next time. Cancel safe.
    async fn next(&mut self);
}

/// Asks once, when a future ends.
pub(super) struct Once<S>(Option<Pin<Box<S>>>);

impl<S: Future<Output = ()>> Once<S> {
    pub(super) fn new(future: S) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<S: Future<Output = ()>> Requests for Once<S> {
    async fn next(&mut self) {
        match &mut self.0 {
            Some(future) => future.await,
            None => return pending().await,
        }
        self.0 = None;
    }
}

/// What asks a process to end: SIGINT and SIGTERM, or what comes nearest on other systems.
#[derive(Debug)]
pub(super) struct Signals {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
    #[cfg(windows)]
    terminate: tokio::signal::windows::CtrlClose,
    #[cfg(windows)]
    shutdown: tokio::signal::windows::CtrlShutdown,
}

impl Signals {
    /// From now on these signals don't end the process.
    #[cfg(unix)]
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// From now on these events don't end the process.
    #[cfg(windows)]
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: tokio::signal::windows::ctrl_c()?,
            terminate: tokio::signal::windows::ctrl_close()?,
            shutdown: tokio::signal::windows::ctrl_shutdown()?,
        })
    }

    /// Waits for the next one, and gives its name.
    async fn recv(&mut self) -> &'static str {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
        #[cfg(windows)]
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "close",
            _ = self.shutdown.recv() => "shutdown",
        }
    }
}

impl Requests for Signals {
    async fn next(&mut self) {
        let signal = self.recv().await;
        info!("got {signal}");
    }
}
