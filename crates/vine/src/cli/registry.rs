use std::{fmt, fs, path::Path, path::PathBuf, sync::Arc, time::Duration};

use clap::builder::BoolishValueParser;
use vine_registry::{Error, Options, Registry, Result, TlsOptions, Url};

use super::value::{Pairs, duration, env};
use crate::{Registries, registries::parse_url};

const REGISTRY: &str = "Registry";

/// Which registry to use, and how to reach it.
#[derive(Clone, Default, PartialEq, Eq, clap::Args)]
#[group(skip)]
#[non_exhaustive]
pub struct RegistryFlags {
    /// Engine to use, for instance mdns, etcd or memory [default: mdns, or the scheme of the address]
    #[arg(
        id = "registry.default", long = "registry.default", alias = "registy.default",
        value_name = "ENGINE", help_heading = REGISTRY, env = env("VINE_REGISTRY_DEFAULT"),
    )]
    pub default: Option<String>,

    /// Where the registry is: host:port, several with commas, or a URL such as
    /// etcd://user@host:2379,host2/namespace
    #[arg(
        id = "registry.address", long = "registry.address", value_name = "ADDRESS",
        help_heading = REGISTRY, env = env("VINE_REGISTRY_ADDRESS"), hide_env_values = true,
    )]
    pub address: Vec<String>,

    /// How long a call may take [default: 5s]
    #[arg(
        id = "registry.timeout", long = "registry.timeout", value_name = "DURATION",
        help_heading = REGISTRY, env = env("VINE_REGISTRY_TIMEOUT"), value_parser = duration,
    )]
    pub timeout: Option<Duration>,

    /// Namespace of services that name none [default: vine]
    #[arg(
        id = "registry.namespace", long = "registry.namespace", value_name = "NAMESPACE",
        help_heading = REGISTRY, env = env("VINE_REGISTRY_NAMESPACE"),
    )]
    pub namespace: Option<String>,

    /// Use TLS, with the system's root certificates unless others are given
    #[arg(
        id = "registry.secure", long = "registry.secure", value_name = "BOOL",
        help_heading = REGISTRY, env = env("VINE_REGISTRY_SECURE"),
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    pub secure: Option<bool>,

    /// File with the certificates of the authorities to trust, as PEM
    #[arg(
        id = "registry.tls-ca", long = "registry.tls-ca", value_name = "FILE",
        help_heading = REGISTRY, env = env("VINE_REGISTRY_TLS_CA"),
    )]
    pub tls_ca: Option<PathBuf>,

    /// File with the certificate to show, as PEM
    #[arg(
        id = "registry.tls-cert", long = "registry.tls-cert", value_name = "FILE",
        help_heading = REGISTRY, env = env("VINE_REGISTRY_TLS_CERT"),
    )]
    pub tls_cert: Option<PathBuf>,

    /// File with the key of that certificate, as PEM
    #[arg(
        id = "registry.tls-key", long = "registry.tls-key", value_name = "FILE",
        help_heading = REGISTRY, env = env("VINE_REGISTRY_TLS_KEY"), hide_env_values = true,
    )]
    pub tls_key: Option<PathBuf>,

    /// A setting of the engine's own; may be repeated
    #[arg(
        id = "registry.option", long = "registry.option", value_name = "KEY=VALUE",
        help_heading = REGISTRY, env = env("VINE_REGISTRY_OPTION"), hide_env_values = true,
        value_parser = Pairs::parse,
    )]
    pub option: Vec<Pairs>,

    /// How the etcd registry uses the cluster.
    #[cfg(feature = "etcd")]
    #[command(flatten)]
    pub etcd: super::EtcdFlags,

    /// How the mDNS registry uses the network.
    #[cfg(feature = "mdns")]
    #[command(flatten)]
    pub mdns: super::MdnsFlags,
}

impl RegistryFlags {
    /// Makes the registry that the flags ask for.
    ///
    /// It is not connected yet: the first use does that, or [`Registry::init`].
    ///
    /// # Errors
    /// [`Error::InvalidOption`], with the flag and what would be right.
    pub fn open(&self, registries: &Registries) -> Result<Arc<dyn Registry>> {
        let url = self.url()?;
        let engine = self.engine(url.as_ref(), registries)?;
        let mut options = self.options(url.as_ref())?;
        #[cfg(feature = "etcd")]
        if engine == "etcd" {
            self.etcd.apply(&mut options)?;
        }
        #[cfg(feature = "mdns")]
        if engine == "mdns" {
            self.mdns.apply(&mut options);
        }
        for (key, value) in self.option.iter().flat_map(Pairs::iter) {
            options = options.with_parameter(key, value);
        }
        registries.open(engine, options)
    }

    /// Looks for what keeps the mDNS registry that the flags ask for from finding services.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], with the flag and what would be right; also when the flags ask for
    /// another registry.
    #[cfg(feature = "mdns")]
    pub async fn examine(&self) -> Result<crate::doctor::Report> {
        let url = self.url()?;
        let registries = Registries::new();
        let engine = self.engine(url.as_ref(), &registries)?;
        if engine != "mdns" {
            return Err(Error::invalid_option(
                "registry.default",
                format!("is {engine}, but only the mdns registry is examined; leave it out"),
            ));
        }
        let mut options = self.options(url.as_ref())?;
        self.mdns.apply(&mut options);
        for (key, value) in self.option.iter().flat_map(Pairs::iter) {
            options = options.with_parameter(key, value);
        }
        let settings = crate::registries::mdns_settings(&options)?;
        crate::doctor::examine(&options, &settings).await
    }

    /// Whether they say which registry to use.
    pub(crate) fn chooses(&self) -> bool {
        self.default.is_some() || self.addresses().next().is_some()
    }

    /// Whether any of them was given.
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }

    fn addresses(&self) -> impl Iterator<Item = &str> {
        let addresses = self.address.iter().map(|address| address.trim());
        addresses.filter(|address| !address.is_empty())
    }

    fn url(&self) -> Result<Option<Url>> {
        let Some(url) = self.addresses().find(|address| Url::is_url(address)) else {
            return Ok(None);
        };
        if self.addresses().count() > 1 {
            return Err(Error::invalid_option(
                "registry.address",
                "has a URL among others; give one URL alone, with all its hosts in it",
            ));
        }
        parse_url(url).map(Some)
    }

    fn engine<'a>(&'a self, url: Option<&'a Url>, registries: &'a Registries) -> Result<&'a str> {
        match (&self.default, url) {
            (Some(engine), Some(url)) if *engine != url.scheme => Err(Error::invalid_option(
                "registry.default",
                format!(
                    "is {engine}, but --registry.address is a URL of {}; leave out one of them",
                    url.scheme
                ),
            )),
            (Some(engine), _) => Ok(engine),
            (None, Some(url)) => Ok(&url.scheme),
            (None, None) => Ok(registries.default_name()),
        }
    }

    fn options(&self, url: Option<&Url>) -> Result<Options> {
        let mut options = match url {
            Some(url) => Options::new().with_url(url),
            None => Options::new().with_addrs(
                self.addresses()
                    .flat_map(|addresses| addresses.split(','))
                    .map(str::trim)
                    .filter(|address| !address.is_empty()),
            ),
        };
        if let Some(timeout) = self.timeout {
            options.timeout = timeout;
        }
        if let Some(namespace) = &self.namespace {
            if let Some(other) = url.and_then(|url| url.namespace.as_ref())
                && namespace != other
            {
                return Err(Error::invalid_option(
                    "registry.namespace",
                    format!(
                        "is {namespace:?}, but {other:?} in --registry.address; leave out one of them"
                    ),
                ));
            }
            options.namespace = namespace.as_str().into();
        }
        self.secure(options)
    }

    fn secure(&self, options: Options) -> Result<Options> {
        if [&self.tls_ca, &self.tls_cert, &self.tls_key]
            .iter()
            .all(|file| file.is_none())
        {
            return Ok(match self.secure {
                Some(secure) => options.with_secure(secure),
                None => options,
            });
        }
        if self.secure == Some(false) {
            return Err(Error::invalid_option(
                "registry.secure",
                "is false, but TLS files are given; leave out one or the other",
            ));
        }
        let mut tls = TlsOptions::new();
        if let Some(file) = &self.tls_ca {
            tls = tls.with_ca(read("registry.tls-ca", file)?);
        }
        tls = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => tls.with_identity(
                read("registry.tls-cert", cert)?,
                read("registry.tls-key", key)?,
            ),
            (Some(_), None) => return Err(incomplete("registry.tls-cert", "registry.tls-key")),
            (None, Some(_)) => return Err(incomplete("registry.tls-key", "registry.tls-cert")),
            (None, None) => tls,
        };
        Ok(options.with_tls(tls))
    }
}

/// An address may hold a password, an option a secret.
impl fmt::Debug for RegistryFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryFlags")
            .field("default", &self.default)
            .field("timeout", &self.timeout)
            .field("namespace", &self.namespace)
            .field("secure", &self.secure)
            .finish_non_exhaustive()
    }
}

fn read(option: &'static str, file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| {
        let file = file.display();
        Error::invalid_option(
            option,
            format!("can't read {file}: {error}; give a PEM file"),
        )
    })
}

fn incomplete(given: &'static str, missing: &'static str) -> Error {
    Error::invalid_option(given, format!("is of no use alone; give --{missing}, too"))
}
