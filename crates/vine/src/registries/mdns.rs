use std::fs;

use vine_registry::{Error, Options, Result};
use vine_registry_mdns::{Key, MdnsOptions, MdnsRegistry};

use super::{no_server, unknown_setting};

/// Makes the mDNS registry; its settings come as parameters, from flags or a URL:
/// `mdns://?port=5454&interface=eth0,eth1&ipv6=false`, `mdns://?dialect=both&domain=vine`.
pub(super) fn open(mut options: Options) -> Result<MdnsRegistry> {
    no_server("mdns", &options)?;
    let settings = settings(&options)?;
    // Whoever asks a registry for its options need not learn its keys.
    options.parameters.remove("key");
    MdnsRegistry::new(options, settings)
}

/// How its parameters set the registry up.
///
/// # Errors
/// [`Error::InvalidOption`], with what would be right.
pub(crate) fn settings(options: &Options) -> Result<MdnsOptions> {
    let mut settings = MdnsOptions::new();
    for (key, value) in &options.parameters {
        match key.as_str() {
            "port" => {
                settings.port = value
                    .parse()
                    .map_err(|_| wrong("port", value, "give a UDP port, by default 5353"))?;
            }
            "interface" => {
                settings = settings.with_interfaces(
                    value
                        .split(',')
                        .map(str::trim)
                        .filter(|name| !name.is_empty()),
                );
            }
            "ipv4" => settings.ipv4 = switch("ipv4", value)?,
            "ipv6" => settings.ipv6 = switch("ipv6", value)?,
            "dialect" => {
                settings.dialect = value
                    .parse()
                    .map_err(|_| wrong("dialect", value, "give dns-sd, vine or both"))?;
            }
            "domain" => settings = settings.with_domain(value),
            "key" => settings = settings.with_keys(keys(value)?),
            _ => {
                let known = "it has port, interface, ipv4, ipv6, dialect, domain and key";
                return Err(unknown_setting("mdns", key, known));
            }
        }
    }
    Ok(settings)
}

/// Reads keys as `id:secret`, and as `@file` with one on each line.
fn keys(list: &str) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    for text in list
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        let Some(file) = text.strip_prefix('@') else {
            keys.push(text.parse()?);
            continue;
        };
        let lines = fs::read_to_string(file).map_err(|error| {
            Error::invalid_option(
                "registry.mdns.key",
                format!("can't read {file}: {error}; give a file with id:secret on each line"),
            )
        })?;
        let lines = lines.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            keys.push(line.parse()?);
        }
    }
    match keys.is_empty() {
        // Who means to have a key must not go without one.
        true => Err(Error::invalid_option(
            "registry.mdns.key",
            "has no key; write id:secret, or leave it out",
        )),
        false => Ok(keys),
    }
}

fn switch(key: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(wrong(key, value, "give true or false")),
    }
}

fn wrong(key: &str, value: &str, remedy: &str) -> Error {
    Error::invalid_option(
        format!("registry.mdns.{key}"),
        format!("is {value:?}; {remedy}"),
    )
}

#[cfg(test)]
mod tests {
    use vine_registry_mdns::Dialect;

    use super::*;

    fn parse(parameters: &[(&str, &str)]) -> Result<MdnsOptions> {
        let options = parameters
            .iter()
            .fold(Options::new(), |options, (key, value)| {
                options.with_parameter(*key, *value)
            });
        settings(&options)
    }

    #[test]
    fn parameters_become_settings() {
        let given = [
            ("port", "5454"),
            ("interface", "eth0, 10.0.0.7"),
            ("ipv6", "no"),
        ];
        let expected = MdnsOptions::new()
            .with_port(5454)
            .with_interfaces(["eth0", "10.0.0.7"])
            .with_ipv6(false);
        assert_eq!(parse(&given).unwrap(), expected);
        let given = [("dialect", "both"), ("domain", "micro")];
        let expected = MdnsOptions::new()
            .with_dialect(Dialect::Both)
            .with_domain("micro");
        assert_eq!(parse(&given).unwrap(), expected);
        assert_eq!(parse(&[]).unwrap(), MdnsOptions::new());
    }

    #[test]
    fn keys_come_from_the_command_line_and_from_files_and_do_not_show() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        fs::write(&file, "# by turns\nk2:hunter2,3\n\n  k3:hunter3\n").unwrap();
        let list = format!("k1:hunter1, @{}", file.display());
        let keys = parse(&[("key", &list)]).unwrap().keys;
        let expected = ["k1:hunter1", "k2:hunter2,3", "k3:hunter3"];
        assert_eq!(keys, expected.map(|key| key.parse::<Key>().unwrap()));

        let registry = open(Options::new().with_parameter("key", "k1:hunter1")).unwrap();
        assert_eq!(registry.mdns_options().keys.len(), 1);
        assert!(!format!("{registry:?}").contains("hunter"));

        for (value, remedy) in [
            ("hunter1", "id:secret"),
            ("@/no/such/file", "on each line"),
            (" ,", "leave it out"),
        ] {
            let error = parse(&[("key", value)]).unwrap_err().to_string();
            assert!(
                error.contains("registry.mdns.key") && error.contains(remedy),
                "{error}"
            );
            assert!(!error.contains("hunter1"));
        }
        let both = open(
            Options::new()
                .with_parameter("key", "k1:hunter1")
                .with_parameter("dialect", "both"),
        );
        assert!(both.unwrap_err().to_string().contains("dialect"));
    }

    #[test]
    fn wrong_ones_come_with_a_remedy() {
        for (key, value, remedy) in [
            ("port", "http", "UDP port"),
            ("ipv4", "maybe", "true or false"),
            ("prot", "1", "it has port"),
            ("dialect", "go", "dns-sd, vine or both"),
        ] {
            let error = parse(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(remedy), "{error}");
        }
    }
}
