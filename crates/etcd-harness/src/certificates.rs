//! An authority, and certificates of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// A private authority, with a server (`localhost`, 127.0.0.1, ::1) and a client.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate, as PEM.
    pub ca: String,
    /// What the servers show.
    pub server: Identity,
    /// What a client may show.
    pub client: Identity,
    /// A name of the server.
    pub(crate) host: String,
}

impl Certificates {
    /// A new authority, unknown to all others.
    #[must_use]
    pub fn new() -> Self {
        Self::for_hosts(&["localhost", "127.0.0.1", "::1"])
    }

    /// The same with a server of these names and addresses; at least one.
    #[must_use]
    pub fn for_hosts(hosts: &[&str]) -> Self {
        let mut params = named("authority", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = |mut params: CertificateParams, purposes: Vec<ExtendedKeyUsagePurpose>| {
            params.extended_key_usages = purposes;
            let key = KeyPair::generate().unwrap();
            Identity {
                cert: params.signed_by(&key, &ca).unwrap().pem(),
                key: key.serialize_pem(),
            }
        };
        // etcd calls itself with the certificate that it serves by, for its JSON gateway.
        let both = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Self {
            server: issue(named("server", hosts), both),
            client: issue(
                named("client", &[]),
                vec![ExtendedKeyUsagePurpose::ClientAuth],
            ),
            ca: ca.pem(),
            host: hosts[0].to_owned(),
        }
    }

    /// Writes what a server needs; gives the paths of certificate, key and authority.
    pub(crate) fn write(&self, folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
        let write = |name: &str, content: &str| {
            let path = folder.join(name);
            fs::write(&path, content).unwrap();
            path
        };
        (
            write("server.pem", &self.server.cert),
            write("server.key", &self.server.key),
            write("ca.pem", &self.ca),
        )
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("vine test {name}"));
    params
}
