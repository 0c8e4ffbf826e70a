use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use percent_encoding::percent_decode_str;

use crate::{Credentials, Error, Options, options::Masked};

/// A registry as one text: `etcd://user@host:2379,host2/namespace?layout=vine`,
/// `mdns://?domain=vine`, `memory:`.
///
/// User, password, namespace and parameters are percent-encoded: a `/` in a password is `%2F`.
///
/// `Debug` shows no password, and of parameters no values; `Display` no parameters at all.
///
/// ```
/// use vine_registry::{Options, Url};
///
/// let url: Url = "etcd://me:secret@10.0.0.7:2379,[fd00::7]:2379/staging?layout=vine".parse()?;
/// assert_eq!(url.scheme, "etcd");
/// let options = Options::new().with_url(&url);
/// assert_eq!(options.addrs, ["10.0.0.7:2379", "[fd00::7]:2379"]);
/// assert_eq!(&*options.namespace, "staging");
/// assert!(!format!("{url:?} {url}").contains("secret"));
/// # Ok::<(), vine_registry::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Url {
    /// The engine, in lower case.
    pub scheme: String,
    /// Who to be.
    pub credentials: Option<Credentials>,
    /// Where the registry is.
    pub addrs: Vec<String>,
    /// The namespace of services that name none.
    pub namespace: Option<String>,
    /// The engine's own settings.
    pub parameters: BTreeMap<String, String>,
}

impl Url {
    /// Whether the text is a registry URL rather than an address: `scheme://...`, `scheme:` or
    /// `scheme:?...`.
    #[must_use]
    pub fn is_url(text: &str) -> bool {
        split_scheme(text).is_some()
    }

    /// An address as it may be shown: what stands before its last `@` may be a password.
    #[doc(hidden)]
    #[must_use]
    pub fn masked(address: &str) -> Cow<'_, str> {
        address
            .rsplit_once('@')
            .map_or(Cow::Borrowed(address), |(_, host)| {
                Cow::Owned(format!("***@{host}"))
            })
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let Some((scheme, rest)) = split_scheme(text) else {
            return Err(invalid(
                "is not a registry URL, for instance etcd://10.0.0.7:2379 or memory:",
            ));
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, namespace) = rest.split_once('/').unwrap_or((rest, ""));
        if may_cut_a_password(authority, namespace, query) {
            return Err(invalid(
                "has an @ behind the first / or ?; percent-encode / and ? in the password as %2F and %3F, and an @ elsewhere as %40",
            ));
        }
        let (user, hosts) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(user, hosts)| (Some(user), hosts));
        let credentials = match user {
            Some(user) => {
                let (username, password) = user.split_once(':').unwrap_or((user, ""));
                Some(Credentials::new(
                    decode("user", username)?,
                    decode("password", password)?,
                ))
            }
            None => None,
        };
        let namespace = namespace.strip_suffix('/').unwrap_or(namespace);
        if namespace.contains('/') {
            return Err(invalid(
                "has more than one path segment; only a namespace may follow the hosts",
            ));
        }
        let namespace = decode("namespace", namespace)?;
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            credentials,
            addrs: addrs(hosts)?,
            namespace: (!namespace.is_empty()).then(|| namespace.into_owned()),
            parameters: parameters(query)?,
        })
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Url")
            .field("scheme", &self.scheme)
            .field("credentials", &self.credentials)
            .field("addrs", &self.addrs)
            .field("namespace", &self.namespace)
            .field("parameters", &Masked(&self.parameters))
            .finish()
    }
}

impl fmt::Display for Url {
    /// Writes it without the password and the parameters, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if let Some(credentials) = &self.credentials {
            write!(f, "{}@", credentials.username)?;
        }
        write!(f, "{}", self.addrs.join(","))?;
        self.namespace
            .as_ref()
            .map_or(Ok(()), |namespace| write!(f, "/{namespace}"))
    }
}

impl Options {
    /// Takes over what a URL says, and keeps the rest.
    #[must_use]
    pub fn with_url(mut self, url: &Url) -> Self {
        if !url.addrs.is_empty() {
            self.addrs.clone_from(&url.addrs);
        }
        if let Some(namespace) = &url.namespace {
            self.namespace = namespace.as_str().into();
        }
        if url.credentials.is_some() {
            self.credentials.clone_from(&url.credentials);
        }
        self.parameters.extend(url.parameters.clone());
        self
    }
}

/// The scheme, and what follows `:` or `://`.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut bytes = scheme.bytes();
    let valid = bytes.next()?.is_ascii_alphabetic()
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let rest = match rest.strip_prefix("//") {
        Some(rest) => rest,
        // host:2379 is an address.
        None if rest.is_empty() || rest.starts_with('?') => rest,
        None => return None,
    };
    valid.then_some((scheme, rest))
}

/// Whether a `/` or `?` that ended the authority may stand in a password: then an `@` follows. It may
/// as well begin the value of a setting, as in `mdns://?key=@file`, where there are no hosts.
fn may_cut_a_password(authority: &str, namespace: &str, query: &str) -> bool {
    let mut keys = query.split('&').filter_map(|pair| pair.split('=').next());
    namespace.contains('@')
        || keys.any(|key| key.contains('@'))
        || !authority.is_empty() && query.contains('@')
}

fn addrs(hosts: &str) -> Result<Vec<String>, Error> {
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let bad = |c: char| c.is_whitespace() || c.is_control();
    hosts
        .split(',')
        .map(|host| {
            if host.is_empty() || host.contains(bad) {
                return Err(invalid(
                    "has an empty host or one with blanks; hosts are separated by commas",
                ));
            }
            Ok(host.to_owned())
        })
        .collect()
}

fn parameters(query: &str) -> Result<BTreeMap<String, String>, Error> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
            Ok((
                decode("parameter", key)?.into_owned(),
                decode("parameter", value)?.into_owned(),
            ))
        })
        .collect()
}

fn decode<'a>(part: &str, text: &'a str) -> Result<Cow<'a, str>, Error> {
    percent_decode_str(text).decode_utf8().map_err(|_| {
        invalid(format!(
            "has a {part} that is not UTF-8 after percent decoding"
        ))
    })
}

fn invalid(reason: impl Into<Cow<'static, str>>) -> Error {
    Error::invalid_option("address", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_urls_from_addresses() {
        for url in [
            "memory:",
            "mdns://",
            "mdns:?domain=vine",
            "etcd://h",
            "x+y-1.2://h",
        ] {
            assert!(Url::is_url(url), "{url}");
        }
        for address in [
            "127.0.0.1:2379",
            "host:2379",
            "host",
            "[::1]:2379",
            "",
            ":",
            "://h",
            "1a://h",
            "a_b://h",
        ] {
            assert!(!Url::is_url(address), "{address}");
            assert!(address.parse::<Url>().is_err(), "{address}");
        }
    }

    #[test]
    fn what_stands_before_an_at_is_masked() {
        for (address, shown) in [
            ("10.0.0.7:2379", "10.0.0.7:2379"),
            ("root:hunter2@h", "***@h"),
            ("http://root:a@b/c@h:1", "***@h:1"),
            ("root:hun,ter2@h,h2", "***@h,h2"),
        ] {
            assert_eq!(Url::masked(address), shown);
        }
    }

    #[test]
    fn takes_all_parts() {
        let url: Url = "ETCD://a%40b:p%3Aw@h1:1,[::1]:2/name%20space/?k=v%26w&flag"
            .parse()
            .unwrap();
        assert_eq!(url.scheme, "etcd");
        assert_eq!(url.credentials, Some(Credentials::new("a@b", "p:w")));
        assert_eq!(url.addrs, ["h1:1", "[::1]:2"]);
        assert_eq!(url.namespace.as_deref(), Some("name space"));
        assert_eq!(
            url.parameters,
            [("flag", "true"), ("k", "v&w")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into()
        );
        assert_eq!(url.to_string(), "etcd://a@b@h1:1,[::1]:2/name space");
    }

    #[test]
    fn secrets_do_not_show() {
        let url: Url = "etcd://me:hunter2@h/ns?token=hunter2&layout=vine"
            .parse()
            .unwrap();
        let mut options = Options::new().with_url(&url);
        let shown = format!("{url} {url:?} {url:#?} {options:?} {options:#?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        for text in [format!("{url:?}"), format!("{options:?}")] {
            assert!(
                text.contains(r#"parameters: {"layout": ***, "token": ***}"#),
                "{text}"
            );
            assert!(text.contains(r#"username: "me""#), "{text}");
        }
        options.addrs = vec!["root:hun".to_owned(), "ter2@h:1".to_owned()];
        let shown = format!("{options:?}");
        assert!(shown.contains(r#"addrs: "***@h:1""#), "{shown}");
        assert!(!shown.contains("hun"), "{shown}");
    }

    #[test]
    fn half_a_password_is_no_host() {
        for url in [
            "etcd://root:12/34@h",
            "etcd://root:12?34@h",
            "etcd://root:12/34?56@h:1/ns",
            "etcd://root:12?34/56@h",
            "etcd://root:1@2/34@h",
            "etcd:///root:12/34@h",
            "root:?12@h",
        ] {
            let error = url.parse::<Url>().unwrap_err().to_string();
            assert!(
                error.contains("percent-encode / and ? in the password"),
                "{error}"
            );
            for secret in ["12", "34", "56", "root"] {
                assert!(!error.contains(secret), "{error}");
            }
        }
        let url: Url = "etcd://root:12%2F3%3F4%40@h/a%40b?c=%40".parse().unwrap();
        assert_eq!(url.credentials, Some(Credentials::new("root", "12/3?4@")));
        assert_eq!(url.namespace.as_deref(), Some("a@b"));
        let url: Url = "mdns://?key=@/etc/keys".parse().unwrap();
        assert_eq!(url.parameters["key"], "@/etc/keys");
    }

    #[test]
    fn says_what_is_wrong() {
        for (url, part) in [
            ("etcd://a,,b", "empty host"),
            ("etcd://a b", "blanks"),
            ("etcd://a/b/c", "segment"),
            ("etcd://%ff@a", "user"),
        ] {
            let error = url.parse::<Url>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
