//! Addresses as people write them: `host:port`, `[v6]:port`.

use std::net::Ipv6Addr;

/// A host and a port, borrowed from the text they stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostPort<'a> {
    /// A name or an IP address, without brackets.
    pub host: &'a str,
    /// The port.
    pub port: u16,
}

impl<'a> HostPort<'a> {
    /// Takes `host:port` apart; IPv6 addresses stand in brackets, with a zone if need be.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let colon = text.bytes().rposition(|b| b == b':')?;
        let (host, port) = (&text[..colon], number(&text[colon + 1..])?);
        let host = match host.strip_prefix('[') {
            Some(bracketed) => bracketed.strip_suffix(']').filter(|host| is_v6(host))?,
            None => Some(host).filter(|host| is_name(host))?,
        };
        Some(Self { host, port })
    }

    /// Puts a host and a port together; IPv6 addresses get brackets.
    #[must_use]
    pub fn join(host: &str, port: u16) -> String {
        if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

/// An IPv6 address, with or without a zone.
fn is_v6(host: &str) -> bool {
    let (address, zone) = host
        .split_once('%')
        .map_or((host, None), |(address, zone)| (address, Some(zone)));
    address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(is_zone)
}

/// The name or the number of an interface.
fn is_zone(zone: &str) -> bool {
    let may_be = |c: char| c.is_alphanumeric() || "-_.:@".contains(c);
    !zone.is_empty() && zone.chars().all(may_be)
}

/// A port: digits and nothing else.
fn number(port: &str) -> Option<u16> {
    let mut number = None;
    for b in port.bytes() {
        let digit = b.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number = Some(u16::checked_add(
            number.unwrap_or(0_u16).checked_mul(10)?,
            digit.into(),
        )?);
    }
    number
}

/// An IPv4 address or a host name: labels of 1 to 63 bytes, 253 bytes in all; letters may be any.
fn is_name(host: &str) -> bool {
    let mut label = 0;
    for b in host.bytes() {
        let is_end = b == b'.';
        if is_end && label == 0 || !is_end && (label == 63 || !MAY_BE[usize::from(b)]) {
            return false;
        }
        label = if is_end { 0 } else { label + 1 };
    }
    let may_be = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    label > 0 && host.len() <= 253 && (host.is_ascii() || host.chars().all(may_be))
}

/// The bytes of names, those of letters beyond ASCII among them.
const MAY_BE: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        let ascii = b as u8;
        table[b] = ascii.is_ascii_alphanumeric() || matches!(ascii, b'-' | b'_' | 0x80..);
        b += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_apart() {
        for (text, host, port) in [
            ("127.0.0.1:80", "127.0.0.1", 80),
            ("[::1]:65535", "::1", 65535),
            ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
            ("host.example:8080", "host.example", 8080),
            ("bücher:1", "bücher", 1),
            ("a:0", "a", 0),
            ("a-b_c.d:65535", "a-b_c.d", 65535),
        ] {
            assert_eq!(
                HostPort::parse(text),
                Some(HostPort { host, port }),
                "{text}"
            );
            assert_eq!(HostPort::join(host, port), text);
        }
        for text in [
            "",
            ":",
            ":80",
            "a",
            "a:",
            "a:65536",
            "a:+1",
            "a:1x",
            "a:99999999999999999999",
            "::1:80",
            "[::1]",
            "[::1%]:1",
            "[::1%a b]:1",
            "[::1%\0]:1",
            "[::1%[]:1",
            "[a]:1",
            "a b:1",
            "a..b:1",
            "a.:1",
            ".a:1",
            "a\u{2028}b:1",
            "a/b:1",
        ] {
            assert_eq!(HostPort::parse(text), None, "{text}");
        }
    }
}
