use std::{fmt, str::FromStr, time::Duration};

use vine_registry::{Error, Result};

/// etcd grants no lease for less.
pub(crate) const MIN_LEASE: Duration = Duration::from_secs(2);

/// How the etcd registry uses the cluster; what every engine knows, the addresses and who to be
/// too, is in [`vine_registry::Options`].
///
/// ```
/// use std::time::Duration;
/// use vine_registry_etcd::{EtcdOptions, Layout};
///
/// let options = EtcdOptions::new()
///     .with_layout(Layout::GoMicro)
///     .with_lease_ttl(Duration::from_secs(15));
/// assert_eq!(options.layout.to_string(), "go-micro");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EtcdOptions {
    /// Under which keys services are kept; [`Layout::Vine`] unless set.
    pub layout: Layout,
    /// How soon others see a registration without a ttl of its own gone when its process was
    /// killed; whole seconds, 30 unless set. A cluster that is electing a leader may need some
    /// seconds, so less than 15 makes registrations flicker.
    pub lease_ttl: Duration,
}

impl EtcdOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets under which keys services are kept.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Sets how soon others see a registration gone when its process was killed.
    #[must_use]
    pub fn with_lease_ttl(mut self, ttl: Duration) -> Self {
        self.lease_ttl = ttl;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let ttl = self.lease_ttl;
        let hour = Duration::from_secs(3600);
        if ttl < MIN_LEASE || ttl > hour || ttl.subsec_nanos() != 0 {
            return Err(Error::invalid_option(
                "etcd.lease-ttl",
                format!(
                    "is {ttl:?}; give whole seconds from {MIN_LEASE:?} to {hour:?}, for instance 30s"
                ),
            ));
        }
        Ok(())
    }
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            layout: Layout::Vine,
            lease_ttl: Duration::from_secs(30),
        }
    }
}

/// Under which keys services are kept.
///
/// A `/` in a name or an id becomes `-` in the key; the value has it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// `/vine/registry/<namespace>/<service>/<node>`, as Vine for Go writes them.
    #[default]
    Vine,
    /// `/vine/registry/<service>/<node>`, as Vine for Go wrote them up to 1.5. Namespaces stand in
    /// the value alone, so two of them can't hold the same service and node.
    Vine15,
    /// `/micro/registry/<service>/<node>`, as go-micro writes them. Of namespaces as before.
    GoMicro,
}

impl Layout {
    const NAMES: [(Self, &'static str); 3] = [
        (Self::Vine, "vine"),
        (Self::Vine15, "vine-1.5"),
        (Self::GoMicro, "go-micro"),
    ];
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = Self::NAMES.iter().find(|(layout, _)| layout == self);
        f.write_str(own.map_or("", |(_, name)| name))
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::NAMES.iter().find(|(_, name)| *name == text);
        known.map(|(layout, _)| *layout).ok_or_else(|| {
            Error::invalid_option(
                "etcd.layout",
                format!("is {text:?}; give one of vine, vine-1.5 and go-micro"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_names() {
        for (layout, name) in Layout::NAMES {
            assert_eq!(name.parse::<Layout>().unwrap(), layout);
            assert_eq!(layout.to_string(), name);
        }
        let error = "micro".parse::<Layout>().unwrap_err().to_string();
        assert!(error.contains("etcd.layout"), "{error}");
    }

    #[test]
    fn a_lease_has_whole_seconds() {
        for millis in [0, 1_000, 2_500, 3_601_000] {
            let options = EtcdOptions::new().with_lease_ttl(Duration::from_millis(millis));
            assert!(options.check().is_err(), "{millis}");
        }
        assert!(EtcdOptions::new().check().is_ok());
    }
}
