use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use vine_registry::{Error, Result, TlsOptions};

use crate::clients::BoxError;

/// How to speak TLS with each node of a service.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    pub(super) fn new(options: &TlsOptions, service: &str) -> Result<Self> {
        let name = options.server_name.as_deref().unwrap_or(service);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            Error::invalid_option(
                "tls.server_name",
                format!("{name:?} is no name that a certificate can have; set another one"),
            )
        })?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config(options)?)),
            name,
        })
    }

    pub(super) async fn connect(
        &self,
        tcp: TcpStream,
    ) -> std::result::Result<TlsStream<TcpStream>, BoxError> {
        let stream = self.connector.connect(self.name.clone(), tcp).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err("the node does not speak HTTP/2 (ALPN h2)".into());
        }
        Ok(stream)
    }
}

fn config(options: &TlsOptions) -> Result<ClientConfig> {
    if options.danger_accept_invalid {
        return Err(Error::invalid_option(
            "tls.danger_accept_invalid",
            "is not for channels; give the authority to trust",
        ));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::invalid_option("tls", error.to_string()))?
        .with_root_certificates(roots(options)?);
    let mut config = match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| Error::invalid_option("tls.key", error.to_string()))?;
            builder
                .with_client_auth_cert(certificates("tls.cert", cert)?, key)
                .map_err(|error| Error::invalid_option("tls.key", error.to_string()))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => {
            return Err(Error::invalid_option(
                "tls.cert and tls.key",
                "are of no use one without the other; give both",
            ));
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn roots(options: &TlsOptions) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &options.ca {
        for certificate in certificates("tls.ca", ca)? {
            roots
                .add(certificate)
                .map_err(|error| Error::invalid_option("tls.ca", error.to_string()))?;
        }
        return Ok(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::invalid_option(
            "tls.ca",
            "is not given, and this system has no root certificates; give the authority to trust",
        ));
    }
    Ok(roots)
}

fn certificates(option: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let all: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(Error::invalid_option(
            option,
            "has no certificate; give one as PEM",
        )),
    }
}
