#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "mdns")]
mod mdns;
#[cfg(all(feature = "mdns", feature = "cli"))]
pub(crate) use mdns::settings as mdns_settings;

use std::{collections::BTreeMap, fmt, sync::Arc};

use vine_registry::{Error, MemoryRegistry, Options, Registry, Result, Url};

type Factory = Arc<dyn Fn(Options) -> Result<Arc<dyn Registry>> + Send + Sync>;

/// The engines that can be chosen by name: `--registry.default=memory`.
///
/// The name is the scheme of the engine's URLs, too: `--registry.address=memory:`. An engine of one's own joins by
/// [`insert`](Self::insert); its settings come as [`Options::parameters`].
///
/// ```
/// use vine::{MemoryRegistry, Options, Registries, Registry};
///
/// let mut registries = Registries::new();
/// registries.insert("mine", MemoryRegistry::with_options);
/// let registry = registries.open("mine", Options::new().with_namespace("test"))?;
/// assert_eq!(&*registry.options().namespace, "test");
/// # Ok::<(), vine::Error>(())
/// ```
#[derive(Clone)]
pub struct Registries {
    factories: BTreeMap<String, Factory>,
    default: String,
}

impl Registries {
    /// The engines that come with this crate. `mdns` is the default one, without the feature
    /// `mdns` it is `memory`.
    #[must_use]
    pub fn new() -> Self {
        let mut registries = Self::empty();
        #[cfg(feature = "mdns")]
        registries.insert("mdns", mdns::open);
        registries.insert("memory", memory);
        #[cfg(feature = "etcd")]
        registries.insert("etcd", etcd::open);
        registries
    }

    /// No engine at all.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            factories: BTreeMap::new(),
            default: String::new(),
        }
    }

    /// Adds an engine, or puts it in the place of the one with its name. The first one is the
    /// [default](Self::default_name).
    ///
    /// The factory checks the options; what takes time belongs to [`Registry::init`].
    pub fn insert<R: Registry>(
        &mut self,
        name: impl Into<String>,
        factory: impl Fn(Options) -> Result<R> + Send + Sync + 'static,
    ) -> &mut Self {
        let name = name.into();
        if self.factories.is_empty() {
            self.default.clone_from(&name);
        }
        let factory = move |options| Ok(Arc::new(factory(options)?) as Arc<dyn Registry>);
        self.factories.insert(name, Arc::new(factory));
        self
    }

    /// Sets the engine that is taken when none is named.
    pub fn set_default(&mut self, name: impl Into<String>) -> &mut Self {
        self.default = name.into();
        self
    }

    /// The engine that is taken when none is named.
    #[must_use]
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// The engines' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str)
    }

    /// Makes a registry of the engine `name`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when there is no such engine, or when it can't take the options.
    pub fn open(&self, name: &str, options: Options) -> Result<Arc<dyn Registry>> {
        let factory = self.factories.get(name).ok_or_else(|| {
            let known: Vec<_> = self.names().collect();
            Error::invalid_option(
                "registry.default",
                format!(
                    "there is no registry {name:?}; take one of {}",
                    known.join(", ")
                ),
            )
        })?;
        factory(options)
    }

    /// Makes a registry from a URL such as `mdns://?port=5454` or `memory:`: the scheme is the
    /// engine's name, and what the URL does not say is taken from `options`.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Error::InvalidOption`] when the URL is not well formed.
    pub fn open_url(&self, url: &str, options: Options) -> Result<Arc<dyn Registry>> {
        let url = parse_url(url)?;
        self.open(&url.scheme, options.with_url(&url))
    }
}

pub(crate) fn parse_url(url: &str) -> Result<Url> {
    url.parse().map_err(|error| match error {
        Error::InvalidOption { reason, .. } => Error::invalid_option("registry.address", reason),
        other => other,
    })
}

fn memory(options: Options) -> Result<MemoryRegistry> {
    no_server("memory", &options)?;
    if let Some(key) = options.parameters.keys().next() {
        return Err(unknown_setting("memory", key, "it has none"));
    }
    MemoryRegistry::with_options(options)
}

fn no_server(engine: &str, options: &Options) -> Result<()> {
    if options.addrs.is_empty() {
        return Ok(());
    }
    // All at once, since a comma in a password makes two addresses of one.
    let all = options.addrs.join(",");
    let remedy = match all.contains('@') {
        true => {
            "for etcd write etcd://user@host, and give the password by --registry.etcd.password"
        }
        false => "leave it out, or choose another registry",
    };
    Err(Error::invalid_option(
        "registry.address",
        format!(
            "is {:?}, but the {engine} registry has no server; {remedy}",
            Url::masked(&all)
        ),
    ))
}

fn unknown_setting(engine: &str, key: &str, known: &str) -> Error {
    Error::invalid_option(
        "registry.option",
        format!("the {engine} registry has no setting {key:?}; {known}"),
    )
}

impl Default for Registries {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registries")
            .field("names", &self.factories.keys())
            .field("default", &self.default)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(result: Result<Arc<dyn Registry>>) -> String {
        result.expect_err("an error").to_string()
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let mut registries = Registries::new();
        registries.insert("file", MemoryRegistry::with_options);
        let message = refusal(registries.open("nosuch", Options::new()));
        assert!(message.contains("\"nosuch\""), "{message}");
        for name in registries.names() {
            assert!(message.contains(name), "{message}");
        }
        assert!(registries.open("file", Options::new()).is_ok());
    }

    #[test]
    fn what_an_engine_does_not_know_is_refused() {
        let registries = Registries::new();
        let addressed = Options::new().with_addrs(["10.0.0.7:2379"]);
        let message = refusal(registries.open("memory", addressed));
        assert!(message.contains("no server"), "{message}");
        for addrs in [
            &["root:hunter2@10.0.0.7:2379"][..],
            &["root:hun", "ter2@10.0.0.7:2379"],
        ] {
            let addressed = Options::new().with_addrs(addrs.iter().copied());
            let message = refusal(registries.open("memory", addressed));
            assert!(message.contains("\"***@10.0.0.7:2379\""), "{message}");
            assert!(message.contains("etcd://user@host"), "{message}");
        }
        let tuned = Options::new().with_parameter("prot", "1");
        let message = refusal(registries.open("memory", tuned));
        assert!(message.contains("no setting \"prot\""), "{message}");
    }
}
