use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Changes come in crowds (a container starts, a cable is plugged in); look once for each crowd.
const CALM: Duration = Duration::from_millis(100);

/// How often to look where the system does not tell.
const PERIOD: Duration = Duration::from_secs(5);

/// Tells when the interfaces of this machine or their addresses may have changed.
#[derive(Debug)]
pub(crate) struct Monitor {
    kernel: Option<kernel::Notices>,
    last: Instant,
}

impl Monitor {
    pub(crate) fn new() -> Self {
        Self {
            kernel: kernel::Notices::open()
                .inspect_err(|error| {
                    tracing::debug!(%error, "looking for changed interfaces every {PERIOD:?}");
                })
                .ok(),
            last: Instant::now(),
        }
    }

    /// Waits until it is worth while to look again.
    ///
    /// # Cancel safety
    /// A change is not lost when the future is dropped.
    pub(crate) async fn changed(&mut self) {
        let heard = match &self.kernel {
            Some(notices) => {
                let heard = notices.wait().await;
                sleep_until(self.last + CALM).await;
                heard.and_then(|()| notices.clear())
            }
            None => {
                sleep_until(self.last + PERIOD).await;
                Ok(())
            }
        };
        if let Err(error) = heard {
            tracing::debug!(%error, "looking for changed interfaces every {PERIOD:?}");
            self.kernel = None;
        }
        self.last = Instant::now();
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
