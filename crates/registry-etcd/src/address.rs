use std::{fmt, net::Ipv6Addr, sync::Arc};

use vine_registry::{Error, Options, Result, Url};

/// Where etcd listens for clients, unless said otherwise.
const PORT: u16 = 2379;

/// Where one member of the cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Without brackets.
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
    pub(crate) secure: bool,
}

impl Member {
    /// The members that the options name; without any, the one on this machine.
    pub(crate) fn all(options: &Options) -> Result<Vec<Self>> {
        let secure = options.secure || options.tls.is_some();
        if options.addrs.is_empty() {
            return Ok(vec![Self::parse("127.0.0.1", secure)?]);
        }
        // All at once, since a comma in a password makes two addresses of one.
        let all = options.addrs.join(",");
        if all.contains('@') {
            return Err(invalid(
                &all,
                "has a user in it; write etcd://user@host, and give the password by --registry.etcd.password, or both as credentials",
            ));
        }
        let mut members = Vec::new();
        for address in &options.addrs {
            let member = Self::parse(address, secure)?;
            if !members.contains(&member) {
                members.push(member);
            }
        }
        Ok(members)
    }

    fn parse(address: &str, secure: bool) -> Result<Self> {
        let (secure, rest) = match address.split_once("://") {
            None => (secure, address),
            Some(("https", rest)) => (true, rest),
            Some(("http", _)) if secure => {
                return Err(invalid(
                    address,
                    "begins with http://, but TLS is asked for; write https://, or leave out the scheme",
                ));
            }
            Some(("http", rest)) => (false, rest),
            Some((scheme, _)) => {
                return Err(invalid(
                    address,
                    format!("begins with {scheme}://; write http://, https:// or no scheme"),
                ));
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split(rest).ok_or_else(|| {
            invalid(
                address,
                "is not host, host:port or [v6]:port, for instance 10.0.0.7:2379 or [fd00::7]:2379",
            )
        })?;
        Ok(Self {
            host: host.into(),
            port,
            secure,
        })
    }

    /// As it stands in a URL.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority())
    }
}

/// Host and port of `host`, `host:port`, `v6`, `[v6]` or `[v6]:port`.
fn split(text: &str) -> Option<(&str, u16)> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text, PORT));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|&port| port != 0)?,
            None => rest.is_empty().then_some(PORT)?,
        };
        return Some((host, port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|&port| port != 0)?),
        None => (text, PORT),
    };
    let plain = |c: char| c.is_alphanumeric() || "-._".contains(c);
    (!host.is_empty() && host.chars().all(plain)).then_some((host, port))
}

fn invalid(address: &str, reason: impl fmt::Display) -> Error {
    let address = Url::masked(address);
    Error::invalid_option("registry.address", format!("{address:?} {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(addrs: &[&str], secure: bool) -> Result<Vec<String>> {
        let options = Options::new()
            .with_addrs(addrs.iter().copied())
            .with_secure(secure);
        let members = Member::all(&options)?;
        Ok(members
            .iter()
            .map(|member| format!("{}{member}", if member.secure { "tls " } else { "" }))
            .collect())
    }

    #[test]
    fn scheme_and_port_may_be_left_out() {
        let given = [
            "etcd-1",
            "10.0.0.7:1",
            "http://h:2",
            "https://h:3/",
            "fd00::7",
            "[fd00::8]",
            "[::1]:4",
            "etcd-1:2379",
        ];
        let expected = [
            "etcd-1:2379",
            "10.0.0.7:1",
            "h:2",
            "tls h:3",
            "[fd00::7]:2379",
            "[fd00::8]:2379",
            "[::1]:4",
        ];
        assert_eq!(members(&given, false).unwrap(), expected);
        assert_eq!(members(&[], false).unwrap(), ["127.0.0.1:2379"]);
        assert_eq!(members(&["h"], true).unwrap(), ["tls h:2379"]);
    }

    #[test]
    fn what_is_none_is_refused_with_a_remedy() {
        for address in [
            "", ":1", "h:", "h:0", "h:x", "[h]:1", "[::1", "[::1]x", "a b", "h/x", "ftp://h",
        ] {
            let error = members(&[address], false).unwrap_err().to_string();
            assert!(error.contains("registry.address"), "{error}");
        }
        let error = members(&["http://h"], true).unwrap_err().to_string();
        assert!(error.contains("https://"), "{error}");
    }

    #[test]
    fn a_password_is_not_shown() {
        for addrs in [
            &["root:hunter2@10.0.0.7:2379"][..],
            &["root:hunter2://@10.0.0.7:2379"],
            &["etcd://root:hunter2@10.0.0.7:2379"],
            &["http://root:hunter2@h", "10.0.0.7:2379"],
            &["root:hun", "ter2@10.0.0.7:2379"],
        ] {
            let error = members(addrs, true).unwrap_err().to_string();
            assert!(!error.contains("hun") && !error.contains("ter2"), "{error}");
            for part in ["***@", "10.0.0.7:2379", "etcd://user@host", "password"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }
}
