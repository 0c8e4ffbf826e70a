use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{DEFAULT_NAMESPACE, Services, Url};

/// How a registry is reached. Engines add options of their own in their own crates.
///
/// `Debug` shows no password, and of parameters no values.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where the registry is, as `host:port`; engines without servers need none.
    pub addrs: Vec<String>,
    /// The namespace of services that name none. `vine` by default.
    pub namespace: Arc<str>,
    /// Bounds each call, and the first listing of a watch; not the work in the background. Five
    /// seconds by default.
    pub timeout: Duration,
    /// Whether to use TLS; without [`tls`](Self::tls), with the system's root certificates.
    pub secure: bool,
    /// Certificates and keys.
    pub tls: Option<TlsOptions>,
    /// Who to be.
    pub credentials: Option<Credentials>,
    /// Settings of engines of third parties.
    pub parameters: BTreeMap<String, String>,
    /// Services to start with, in engines that hold them in the process.
    pub services: Services,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            addrs: Vec::new(),
            namespace: DEFAULT_NAMESPACE.into(),
            timeout: Duration::from_secs(5),
            secure: false,
            tls: None,
            credentials: None,
            parameters: BTreeMap::new(),
            services: Services::new(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All at once, since a comma in a password makes two addresses of one.
        let addrs = self.addrs.join(",");
        f.debug_struct("Options")
            .field("addrs", &Url::masked(&addrs))
            .field("namespace", &self.namespace)
            .field("timeout", &self.timeout)
            .field("secure", &self.secure)
            .field("tls", &self.tls)
            .field("credentials", &self.credentials)
            .field("parameters", &Masked(&self.parameters))
            .field("services", &self.services)
            .finish()
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets where the registry is.
    #[must_use]
    pub fn with_addrs(mut self, addrs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.addrs = addrs.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the namespace of services that name none.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Sets how long a call may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets whether to use TLS.
    #[must_use]
    pub fn with_secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Sets certificates and keys, and uses TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsOptions) -> Self {
        self.tls = Some(tls);
        self.with_secure(true)
    }

    /// Sets who to be.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Sets one setting of an engine of a third party.
    #[must_use]
    pub fn with_parameter(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(key.into(), value.into());
        self
    }

    /// Sets the services to start with, in engines that hold them in the process.
    #[must_use]
    pub fn with_services(
        mut self,
        services: impl IntoIterator<Item = impl Into<Arc<crate::Service>>>,
    ) -> Self {
        self.services = services.into_iter().collect();
        self
    }
}

/// Parameters as they may be shown: any of them may be a secret.
pub(crate) struct Masked<'a>(pub(crate) &'a BTreeMap<String, String>);

impl fmt::Debug for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = self.0.keys().map(|key| (key, format_args!("***")));
        f.debug_map().entries(masked).finish()
    }
}

/// A user and a password. The password never shows in `Debug`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

impl Credentials {
    /// A user and a password.
    #[must_use]
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: password.into(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Certificates and keys, as PEM.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// The authorities to trust, instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// The certificate to show.
    pub cert: Option<Vec<u8>>,
    /// The key of that certificate.
    pub key: Option<Vec<u8>>,
    /// The name that the server's certificate must have, instead of its host's.
    pub server_name: Option<String>,
    /// Take whatever certificate the server shows. Anybody on the way can read and change
    /// everything then.
    pub danger_accept_invalid: bool,
}

impl TlsOptions {
    /// TLS with the system's root certificates.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the authorities to trust.
    #[must_use]
    pub fn with_ca(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca = Some(pem.into());
        self
    }

    /// Sets the certificate to show, and its key.
    #[must_use]
    pub fn with_identity(mut self, cert: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.cert = Some(cert.into());
        self.key = Some(key.into());
        self
    }

    /// Sets the name that the server's certificate must have.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Sets whether to take whatever certificate the server shows.
    #[must_use]
    pub fn with_danger_accept_invalid(mut self, accept: bool) -> Self {
        self.danger_accept_invalid = accept;
        self
    }
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.cert.is_some())
            .field("server_name", &self.server_name)
            .field("danger_accept_invalid", &self.danger_accept_invalid)
            .finish_non_exhaustive()
    }
}

/// Options of [`Registry::register_with`](crate::Registry::register_with).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RegisterOptions {
    /// How long the registration holds without being renewed; if not set, the service's own ttl,
    /// and if that is not set, until it is deregistered.
    pub ttl: Option<Duration>,
}

impl RegisterOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the registration holds without being renewed.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

/// Options of [`Registry::deregister_with`](crate::Registry::deregister_with).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DeregisterOptions {
    /// Remove nodes that somebody else registered, too.
    pub force: bool,
}

impl DeregisterOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether to remove nodes that somebody else registered, too.
    #[must_use]
    pub fn with_force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }
}

/// How long to wait for answers, in engines that ask whoever is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Until one node is known.
    First,
    /// Until nothing new is to be expected.
    #[default]
    Settled,
    /// So long.
    For(Duration),
}

/// Which namespaces to list or to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Namespaces {
    /// That of the registry's options.
    #[default]
    Own,
    /// This one.
    One(Arc<str>),
    /// Every one.
    All,
}

impl Namespaces {
    /// The one namespace meant, or none for all of them; `own` is that of the options.
    #[must_use]
    pub fn resolve<'a>(&'a self, own: &'a Arc<str>) -> Option<&'a Arc<str>> {
        match self {
            Self::Own => Some(own),
            Self::One(namespace) if namespace.is_empty() => Some(own),
            Self::One(namespace) => Some(namespace),
            Self::All => None,
        }
    }
}

/// Options of [`Registry::get_service_with`](crate::Registry::get_service_with).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GetOptions {
    /// The namespace, if not that of the registry's options.
    pub namespace: Option<Arc<str>>,
    /// Whether an answer from before an outage will do.
    pub allow_stale: bool,
    /// How long to wait for answers.
    pub wait: Wait,
}

impl GetOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the namespace.
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<Arc<str>>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets whether an answer from before an outage will do.
    #[must_use]
    pub fn with_allow_stale(mut self, allow_stale: bool) -> Self {
        self.allow_stale = allow_stale;
        self
    }

    /// Sets how long to wait for answers.
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }
}

/// Options of [`Registry::list_services_with`](crate::Registry::list_services_with).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ListOptions {
    /// Which namespaces to list.
    pub namespace: Namespaces,
    /// Whether an answer from before an outage will do.
    pub allow_stale: bool,
    /// How long to wait for answers.
    pub wait: Wait,
}

impl ListOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which namespaces to list.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespaces) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets whether an answer from before an outage will do.
    #[must_use]
    pub fn with_allow_stale(mut self, allow_stale: bool) -> Self {
        self.allow_stale = allow_stale;
        self
    }

    /// Sets how long to wait for answers.
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }
}

/// Options of [`Registry::watch`](crate::Registry::watch).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WatchOptions {
    /// Which namespaces to watch.
    pub namespace: Namespaces,
    /// The one service to watch; if not set, all of them.
    pub service: Option<Arc<str>>,
    /// Whether a snapshot from before an outage will do.
    pub allow_stale: bool,
    /// How long to wait for answers before the snapshot counts as known.
    pub wait: Wait,
}

impl WatchOptions {
    /// Every service in the registry's own namespace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One service in the registry's own namespace.
    #[must_use]
    pub fn service(name: impl Into<Arc<str>>) -> Self {
        Self::default().with_service(name)
    }

    /// Sets the one service to watch.
    #[must_use]
    pub fn with_service(mut self, name: impl Into<Arc<str>>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// Sets which namespaces to watch.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespaces) -> Self {
        self.namespace = namespace;
        self
    }

    /// Sets whether a snapshot from before an outage will do.
    #[must_use]
    pub fn with_allow_stale(mut self, allow_stale: bool) -> Self {
        self.allow_stale = allow_stale;
        self
    }

    /// Sets how long to wait for answers before the snapshot counts as known.
    #[must_use]
    pub fn with_wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }
}
