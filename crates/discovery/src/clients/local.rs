//! Which errors are this process's own, and say nothing of a node.

use std::{error::Error, io};

/// Whether this process could not even begin to connect, whoever it was to be: it has no file
/// descriptor or no memory left for a connection. Looks at the causes, too.
///
/// That no address of this host will do (`EADDRNOTAVAIL`) is said of one node: it has an IPv6 address,
/// and this host has none, or all ports are in use for connections to that very node. Others may be
/// reached, so calls have to pass over it as over one that refuses.
pub(crate) fn is_local(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        cause = match error.downcast_ref::<io::Error>() {
            Some(io) if is_local_io(io) => return true,
            // What an error of this kind wraps is not its source.
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    false
}

#[cfg(unix)]
fn is_local_io(error: &io::Error) -> bool {
    use rustix::io::Errno;

    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

#[cfg(not(unix))]
fn is_local_io(error: &io::Error) -> bool {
    // Windows: WSAEMFILE and WSAENOBUFS.
    error.kind() == io::ErrorKind::OutOfMemory
        || matches!(error.raw_os_error(), Some(10_024 | 10_055))
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("can't connect")]
    struct Outer(#[source] io::Error);

    #[test]
    fn what_this_process_lacks_is_its_own_fault_however_deep_it_stands() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS] {
            let io = || io::Error::from(errno);
            assert!(is_local(&io()), "{errno}");
            assert!(is_local(&Outer(io())), "{errno}");
            let wrapped = io::Error::other(Outer(io::Error::other(io())));
            assert!(is_local(&wrapped), "{errno}");
        }
    }

    #[test]
    fn what_is_said_of_one_node_is_not() {
        for errno in [
            Errno::ADDRNOTAVAIL,
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::HOSTUNREACH,
            Errno::TIMEDOUT,
        ] {
            let io = || io::Error::from(errno);
            assert!(!is_local(&io()), "{errno}");
            assert!(!is_local(&Outer(io())), "{errno}");
        }
        assert!(!is_local(&io::Error::other("too many open files")));
    }
}
