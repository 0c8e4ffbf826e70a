use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::pace::Pace;

/// Changes come in crowds (a container starts, a cable is plugged in); look once for each crowd.
const CALM: Duration = Duration::from_millis(100);

/// Tells when the interfaces of this machine or their addresses may have changed, and when to look
/// again in any case.
#[derive(Debug)]
pub(crate) struct Monitor {
    kernel: Option<kernel::Notices>,
    last: Instant,
    pace: Pace,
}

impl Monitor {
    pub(crate) fn new() -> Self {
        let kernel = kernel::Notices::open().inspect_err(Self::say_that_nobody_tells);
        Self {
            kernel: kernel.ok(),
            last: Instant::now(),
            pace: Pace::new(),
        }
    }

    /// Takes in whether everything could be listed and opened: if not, the next look is soon.
    pub(crate) fn looked(&mut self, is_well: bool) {
        self.last = Instant::now();
        self.pace.looked(is_well);
    }

    /// Waits until it is worth while to look again.
    ///
    /// # Cancel safety
    /// A change is not lost when the future is dropped.
    pub(crate) async fn changed(&mut self) {
        let due = self.last + self.pace.wait(self.kernel.is_some());
        let heard = match &self.kernel {
            Some(notices) => match timeout_at(due, notices.wait()).await {
                Ok(heard) => {
                    sleep_until(self.last + CALM).await;
                    heard.and_then(|()| notices.clear())
                }
                Err(_) => Ok(()),
            },
            None => {
                sleep_until(due).await;
                Ok(())
            }
        };
        match heard {
            Err(error) => {
                Self::say_that_nobody_tells(&error);
                self.kernel = None;
            }
            // Before the look that follows, so that no change comes between.
            Ok(()) if self.kernel.is_none() => self.kernel = kernel::Notices::open().ok(),
            Ok(()) => {}
        }
        self.last = Instant::now();
    }

    fn say_that_nobody_tells(error: &std::io::Error) {
        tracing::debug!(%error, "looking now and then for changed interfaces");
    }
}

/// Netlink's groups for links and addresses. What a message says does not matter, so none is
/// taken apart.
#[cfg(target_os = "linux")]
mod kernel {
    use std::{
        io,
        os::{fd::AsRawFd, unix::net},
    };

    use nix::{
        libc::{ENOBUFS, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR, RTMGRP_LINK},
        sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket},
    };
    use tokio::net::UnixDatagram;

    /// A netlink socket in the clothes of another one that hands out datagrams: to the runtime
    /// they are the same.
    #[derive(Debug)]
    pub(super) struct Notices(UnixDatagram);

    impl Notices {
        pub(super) fn open() -> io::Result<Self> {
            let socket = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkRoute,
            )?;
            let groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
            bind(
                socket.as_raw_fd(),
                &NetlinkAddr::new(0, groups.unsigned_abs()),
            )?;
            UnixDatagram::from_std(net::UnixDatagram::from(socket)).map(Self)
        }

        pub(super) async fn wait(&self) -> io::Result<()> {
            self.0.readable().await
        }

        /// Reads what is there; an overflow is a change like any other.
        pub(super) fn clear(&self) -> io::Result<()> {
            let mut buffer = [0; 8192];
            loop {
                match self.0.try_recv(&mut buffer) {
                    Ok(_) => {}
                    Err(error) if error.raw_os_error() == Some(ENOBUFS) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::io;

    #[derive(Debug)]
    pub(super) enum Notices {}

    impl Notices {
        pub(super) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) async fn wait(&self) -> io::Result<()> {
            match *self {}
        }

        pub(super) fn clear(&self) -> io::Result<()> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_system_is_asked_again_to_tell_of_changes() {
        let mut monitor = Monitor::new();
        monitor.kernel = None;
        monitor.changed().await;
        let can_be_told = kernel::Notices::open().is_ok();
        assert_eq!(monitor.kernel.is_some(), can_be_told);
    }
}
