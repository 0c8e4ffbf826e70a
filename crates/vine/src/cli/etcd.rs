use std::{fmt, fs, time::Duration};

use vine_registry::{Credentials, Error, Options, Result};

use super::value::{duration, env};

const HEADING: &str = "Registry etcd";

/// How the etcd registry uses the cluster.
#[derive(Clone, Default, PartialEq, Eq, clap::Args)]
#[group(skip)]
#[non_exhaustive]
pub struct EtcdFlags {
    /// User to be
    #[arg(
        id = "registry.etcd.username", long = "registry.etcd.username", value_name = "NAME",
        help_heading = HEADING, env = env("VINE_REGISTRY_ETCD_USERNAME"),
    )]
    pub username: Option<String>,

    /// The user's password; @FILE takes it from a file, so that no list of processes shows it
    #[arg(
        id = "registry.etcd.password", long = "registry.etcd.password",
        value_name = "PASSWORD|@FILE", help_heading = HEADING,
        env = env("VINE_REGISTRY_ETCD_PASSWORD"), hide_env_values = true,
    )]
    pub password: Option<String>,

    /// Keys to use: vine, vine-1.5 (without namespaces) or go-micro [default: vine]
    #[arg(
        id = "registry.etcd.layout", long = "registry.etcd.layout", value_name = "LAYOUT",
        help_heading = HEADING, env = env("VINE_REGISTRY_ETCD_LAYOUT"),
    )]
    pub layout: Option<String>,

    /// How soon others see a registration without a ttl gone when its process was killed
    /// [default: 30s]
    #[arg(
        id = "registry.etcd.lease-ttl", long = "registry.etcd.lease-ttl", value_name = "DURATION",
        help_heading = HEADING, env = env("VINE_REGISTRY_ETCD_LEASE_TTL"), value_parser = duration,
    )]
    pub lease_ttl: Option<Duration>,
}

impl EtcdFlags {
    /// Puts down what was given; settings as parameters, as a URL does.
    pub(super) fn apply(&self, options: &mut Options) -> Result<()> {
        if let Some(layout) = &self.layout {
            options
                .parameters
                .insert("layout".to_owned(), layout.clone());
        }
        if let Some(ttl) = self.lease_ttl {
            let ttl = match ttl.subsec_nanos() {
                0 => format!("{}s", ttl.as_secs()),
                _ => humantime::format_duration(ttl).to_string(),
            };
            options.parameters.insert("lease-ttl".to_owned(), ttl);
        }
        self.authenticate(options)
    }

    /// The user may stand in the URL and the password here.
    fn authenticate(&self, options: &mut Options) -> Result<()> {
        let in_url = options.credentials.take();
        let username = match (&self.username, &in_url) {
            (Some(given), Some(url)) if *given != url.username => {
                return Err(Error::invalid_option(
                    "registry.etcd.username",
                    format!(
                        "is {given:?}, but {:?} in --registry.address; leave out one of them",
                        url.username
                    ),
                ));
            }
            (Some(given), _) => Some(given.clone()),
            (None, url) => url.as_ref().map(|url| url.username.clone()),
        };
        let password = match &self.password {
            Some(given) => Some(secret("registry.etcd.password", given)?),
            // A URL may name the user alone.
            None => in_url
                .map(|url| url.password)
                .filter(|password| !password.is_empty()),
        };
        options.credentials = match (username, password) {
            (Some(username), Some(password)) => Some(Credentials::new(username, password)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Error::invalid_option(
                    "registry.etcd.username",
                    "is of no use alone; give --registry.etcd.password, too",
                ));
            }
            (None, Some(_)) => {
                return Err(Error::invalid_option(
                    "registry.etcd.password",
                    "is of no use alone; give --registry.etcd.username, too",
                ));
            }
        };
        Ok(())
    }
}

/// Neither a password nor where it is.
impl fmt::Debug for EtcdFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdFlags")
            .field("username", &self.username)
            .field("layout", &self.layout)
            .field("lease_ttl", &self.lease_ttl)
            .finish_non_exhaustive()
    }
}

/// What was given, or what stands in the file that it names.
fn secret(option: &'static str, given: &str) -> Result<String> {
    let Some(file) = given.strip_prefix('@') else {
        return Ok(given.to_owned());
    };
    let text = fs::read_to_string(file)
        .map_err(|error| Error::invalid_option(option, format!("can't read {file}: {error}")))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
