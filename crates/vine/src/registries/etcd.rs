use std::time::Duration;

use vine_registry::{Error, Options, Result};
use vine_registry_etcd::{EtcdOptions, EtcdRegistry};

use super::unknown_setting;

/// Makes the etcd registry; its settings come as parameters, from flags or a URL:
/// `etcd://user@host:2379,host2/namespace?layout=vine&lease-ttl=30s`.
pub(super) fn open(options: Options) -> Result<EtcdRegistry> {
    let settings = settings(&options)?;
    EtcdRegistry::new(options, settings)
}

fn settings(options: &Options) -> Result<EtcdOptions> {
    let mut settings = EtcdOptions::new();
    for (key, value) in &options.parameters {
        match key.as_str() {
            "layout" => settings.layout = value.parse().map_err(in_registry)?,
            "lease-ttl" => settings.lease_ttl = seconds(value)?,
            _ => return Err(unknown_setting("etcd", key, "it has layout and lease-ttl")),
        }
    }
    Ok(settings)
}

/// Names the option as it is written on a command line.
fn in_registry(error: Error) -> Error {
    match error {
        Error::InvalidOption { option, reason } => {
            Error::invalid_option(format!("registry.{option}"), reason)
        }
        other => other,
    }
}

fn seconds(value: &str) -> Result<Duration> {
    let number = value.strip_suffix('s').unwrap_or(value).parse();
    number.map(Duration::from_secs).map_err(|_| {
        Error::invalid_option(
            "registry.etcd.lease-ttl",
            format!("is {value:?}; give whole seconds, for instance 30s"),
        )
    })
}

#[cfg(test)]
mod tests {
    use vine_registry_etcd::Layout;

    use super::*;

    fn parse(parameters: &[(&str, &str)]) -> Result<EtcdOptions> {
        let options = parameters
            .iter()
            .fold(Options::new(), |options, (key, value)| {
                options.with_parameter(*key, *value)
            });
        settings(&options)
    }

    #[test]
    fn parameters_become_settings() {
        let given = [("layout", "go-micro"), ("lease-ttl", "15s")];
        let expected = EtcdOptions::new()
            .with_layout(Layout::GoMicro)
            .with_lease_ttl(Duration::from_secs(15));
        assert_eq!(parse(&given).unwrap(), expected);
        assert_eq!(parse(&[]).unwrap(), EtcdOptions::new());
    }

    #[test]
    fn wrong_ones_come_with_a_remedy() {
        for (key, value, remedy) in [
            ("layout", "micro", "registry.etcd.layout"),
            ("lease-ttl", "soon", "30s"),
            ("prefix", "1", "it has layout"),
        ] {
            let error = parse(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(remedy), "{error}");
        }
    }
}
