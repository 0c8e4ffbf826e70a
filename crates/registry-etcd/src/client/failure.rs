use std::{borrow::Cow, error::Error as _, fmt, time::Duration};

use tonic::{Code, Status};
use vine_registry::Error;

use crate::NAME;

/// Why a request to etcd did not succeed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// No member can be reached.
    Unreachable(Cow<'static, str>),
    /// There was no answer in time.
    Silent(Duration),
    /// The server refuses.
    Refused(Status),
}

/// What to do about a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Ask another member.
    Rotate,
    /// Ask this one again, a little later.
    Again,
    /// Authenticate again.
    Authenticate,
    /// Nothing: say so.
    Tell,
}

impl Failure {
    /// A status that a client made of an error of the connection is none of the server's.
    pub(crate) fn of(status: Status, member: impl fmt::Display) -> Self {
        let Some(source) = status.source() else {
            return Self::Refused(status);
        };
        let mut reason = format!("{member}: {}", chain(source));
        if let Some(hint) = hint(&reason) {
            reason.push_str("; ");
            reason.push_str(hint);
        }
        Self::Unreachable(reason.into())
    }

    pub(crate) fn remedy(&self) -> Remedy {
        let Self::Refused(status) = self else {
            return Remedy::Rotate;
        };
        let message = status.message();
        match status.code() {
            Code::Unauthenticated => Remedy::Authenticate,
            Code::InvalidArgument if message.contains("auth store is old") => Remedy::Authenticate,
            Code::Unavailable if message.contains("leader changed") => Remedy::Again,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Remedy::Rotate,
            Code::ResourceExhausted if message.contains("too many requests") => Remedy::Again,
            _ => Remedy::Tell,
        }
    }

    pub(crate) fn is(&self, code: Code, part: &str) -> bool {
        matches!(self, Self::Refused(status) if status.code() == code && status.message().contains(part))
    }

    /// Whether the lease is gone.
    pub(crate) fn is_lease_not_found(&self) -> bool {
        self.is(Code::NotFound, "lease not found")
    }

    /// Whether the members have no leader, or are just getting another one.
    pub(crate) fn is_leaderless(&self) -> bool {
        self.is(Code::Unavailable, "leader")
    }

    /// Whether the answer was more than fits.
    pub(crate) fn is_too_large(&self) -> bool {
        self.is(Code::OutOfRange, "message length too large")
            || self.is(Code::ResourceExhausted, "larger than max")
    }

    /// Whether only somebody who manages the cluster can do something about it.
    pub(crate) fn is_denial(&self) -> bool {
        matches!(self.clone().into(), Error::PermissionDenied { .. })
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let status = match failure {
            Failure::Unreachable(reason) => return Self::unavailable(NAME, reason),
            Failure::Silent(after) => {
                return Self::unavailable(
                    NAME,
                    format!(
                        "no answer within {after:.1?}; is it etcd that listens at --registry.address?"
                    ),
                );
            }
            Failure::Refused(status) => status,
        };
        let message = status
            .message()
            .trim_start_matches("etcdserver: ")
            .to_owned();
        let denied = |remedy: &str| Self::PermissionDenied {
            registry: NAME.into(),
            reason: format!("{message}; {remedy}").into(),
        };
        match status.code() {
            Code::PermissionDenied => {
                denied("let the user's role read and write the keys of the registry")
            }
            Code::InvalidArgument if message.contains("authentication failed") => {
                denied("check the user and the password")
            }
            Code::InvalidArgument if message.contains("user name is empty") => {
                denied("this cluster wants a user and a password")
            }
            Code::Unauthenticated => denied("check the user and the password"),
            Code::InvalidArgument if message.contains("request is too large") => {
                Self::invalid_service(
                    "nodes",
                    "need a larger request than this etcd takes; make the metadata smaller, or raise its --max-request-bytes",
                )
            }
            Code::ResourceExhausted if message.contains("space exceeded") => Self::unavailable(
                NAME,
                format!("{message}; compact and defragment it, then disarm its alarm NOSPACE"),
            ),
            Code::Unimplemented => Self::unavailable(
                NAME,
                format!(
                    "{message}; is it etcd, version 3.4 or later, that listens at --registry.address?"
                ),
            ),
            _ => Self::unavailable(NAME, message),
        }
    }
}

/// An error and what lies behind it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        if !part.is_empty() && !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        next = error.source();
    }
    text
}

/// What the reason for which there is no connection often means, and what to do then.
pub(crate) fn hint(reason: &str) -> Option<&'static str> {
    const HINTS: [(&str, &str); 19] = [
        (
            "CertificateRequired",
            "the server wants a client certificate: give --registry.tls-cert and --registry.tls-key",
        ),
        (
            "UnknownIssuer",
            "give the authority that signed its certificate as --registry.tls-ca",
        ),
        (
            "BadSignature",
            "another authority signed its certificate than that of --registry.tls-ca",
        ),
        (
            "UnknownCA",
            "the server does not trust the authority of --registry.tls-cert",
        ),
        (
            "not valid for name",
            "address it by a name that its certificate has",
        ),
        (
            "certificate expired",
            "its certificate is out of date, or this clock is wrong",
        ),
        (
            "not valid yet",
            "its certificate is not valid yet, or this clock is wrong",
        ),
        (
            "BadCertificate",
            "the server refuses the client certificate: check --registry.tls-cert",
        ),
        (
            "DecryptError",
            "the server refuses the client certificate: check --registry.tls-cert",
        ),
        (
            "tls handshake eof",
            "if the server does not speak TLS, leave out --registry.secure and https://",
        ),
        (
            "corrupt message",
            "the server does not speak TLS: leave out --registry.secure and https://",
        ),
        (
            "InvalidContentType",
            "the server does not speak TLS: leave out --registry.secure and https://",
        ),
        (
            "on plain text",
            "if it speaks TLS, ask for that: --registry.secure or https://",
        ),
        (
            "hung up on TLS",
            "if it wants a client certificate, give --registry.tls-cert and --registry.tls-key, of an authority that it trusts",
        ),
        (
            "onnection refused",
            "is etcd running there? --registry.address says where it is",
        ),
        (
            "failed to lookup address",
            "check the host name in --registry.address",
        ),
        (
            "can't be connected to within",
            "is etcd running there, and does no firewall keep it from being reached? --registry.address says where it is",
        ),
        (
            "o route to host",
            "check the address in --registry.address and the network",
        ),
        (
            "etwork is unreachable",
            "check the address in --registry.address and the network",
        ),
    ];
    let known = HINTS.iter().find(|(part, _)| reason.contains(part));
    known.map(|(_, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_alike_each_time() {
        let told = |nanos| Error::from(Failure::Silent(Duration::from_nanos(nanos))).to_string();
        let said = told(1_501_350_856);
        assert!(said.contains("no answer within 1.5s;"), "{said}");
        assert_eq!(said, told(1_478_325_743));
    }
}
