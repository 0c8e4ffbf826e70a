//! Whoever reads what is printed.

/// Ends when nobody reads standard output any more, as far as that can be known: when it is a
/// pipe or a socket whose other end was closed. Otherwise it never ends.
///
/// Without it, `vine watch | head -1` would stay until the next change.
#[cfg(unix)]
pub(crate) async fn reader_gone() {
    use nix::{
        errno::Errno,
        poll::{PollFd, PollFlags, PollTimeout, poll},
    };
    use std::os::fd::AsFd;

    let gone = tokio::task::spawn_blocking(|| {
        let stdout = std::io::stdout();
        // Nothing is asked for: errors are told all the same.
        let mut fds = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let told = fds[0].revents().unwrap_or(PollFlags::empty());
        told.intersects(PollFlags::POLLERR | PollFlags::POLLHUP)
    });
    if !matches!(gone.await, Ok(true)) {
        std::future::pending().await
    }
}

/// Never ends: a closed pipe shows when something is printed.
#[cfg(not(unix))]
pub(crate) async fn reader_gone() {
    std::future::pending().await
}
