//! Which etcd there is, and what it understands.

use std::{env, path::PathBuf, process::Command, sync::OnceLock};

struct Binary {
    path: PathBuf,
    version: String,
    help: String,
}

fn binary() -> &'static Binary {
    static BINARY: OnceLock<Binary> = OnceLock::new();
    BINARY.get_or_init(|| {
        let path = match env::var_os("VINE_ETCD_BIN") {
            Some(path) => PathBuf::from(path),
            None => match etcd_bin_vendored::etcd_bin_path() {
                Ok(path) => path.to_owned(),
                Err(error) => panic!("{error}; set VINE_ETCD_BIN to the path of an etcd"),
            },
        };
        let said = |flag: &str| {
            let output = Command::new(&path)
                .arg(flag)
                .output()
                .unwrap_or_else(|error| panic!("can't run {}: {error}", path.display()));
            [output.stdout, output.stderr]
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .concat()
        };
        let (version, help) = (said("--version"), said("--help"));
        let version = version
            .lines()
            .find_map(|line| line.strip_prefix("etcd Version: "))
            .unwrap_or_else(|| panic!("{} is no etcd: {version}", path.display()))
            .to_owned();
        Binary {
            path,
            version,
            help,
        }
    })
}

pub(crate) fn path() -> &'static PathBuf {
    &binary().path
}

/// The version of the server, for instance `3.7.2`.
#[must_use]
pub fn version() -> &'static str {
    &binary().version
}

/// Whether this version knows a flag.
pub(crate) fn understands(flag: &str) -> bool {
    binary().help.contains(flag)
}
