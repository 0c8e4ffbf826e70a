use vine_registry::{Error, Options, Result};
use vine_registry_mdns::{MdnsOptions, MdnsRegistry};

use super::{no_server, unknown_setting};

/// Makes the mDNS registry; its settings come as parameters, from flags or a URL:
/// `mdns://?port=5454&interface=eth0,eth1&ipv6=false`, `mdns://?dialect=both&domain=vine`.
pub(super) fn open(options: Options) -> Result<MdnsRegistry> {
    no_server("mdns", &options)?;
    let settings = settings(&options)?;
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
            _ => {
                let known = "it has port, interface, ipv4, ipv6, dialect and domain";
                return Err(unknown_setting("mdns", key, known));
            }
        }
    }
    Ok(settings)
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
