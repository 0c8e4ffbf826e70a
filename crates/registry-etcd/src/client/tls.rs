use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use vine_registry::{Error, Options, Result, TlsOptions};

/// How to speak TLS, as the options say; without any, with the system's roots.
pub(crate) fn config(options: &Options) -> Result<Arc<ClientConfig>> {
    let default = TlsOptions::default();
    let tls = options.tls.as_ref().unwrap_or(&default);
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::invalid_option("registry.secure", error.to_string()))?;
    let builder = if tls.danger_accept_invalid {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAll(provider)))
    } else {
        builder.with_root_certificates(roots(tls)?)
    };
    let mut config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
                Error::invalid_option("registry.tls-key", "has no private key; give one as PEM")
            })?;
            builder
                .with_client_auth_cert(certificates("registry.tls-cert", cert)?, key)
                .map_err(|error| {
                    Error::invalid_option(
                        "registry.tls-key",
                        format!("does not go with registry.tls-cert: {error}"),
                    )
                })?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => {
            return Err(Error::invalid_option(
                "registry.tls-cert and registry.tls-key",
                "are of no use one without the other; give both",
            ));
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// The name that a member's certificate has to have.
pub(crate) fn server_name(options: &Options, host: &str) -> Result<ServerName<'static>> {
    let given = options.tls.as_ref().and_then(|tls| tls.server_name.clone());
    ServerName::try_from(given.unwrap_or_else(|| host.to_owned())).map_err(|_| {
        Error::invalid_option(
            "registry.address",
            format!("{host:?} is no name that a certificate can have"),
        )
    })
}

fn roots(tls: &TlsOptions) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &tls.ca {
        for certificate in certificates("registry.tls-ca", ca)? {
            roots.add(certificate).map_err(|error| {
                Error::invalid_option("registry.tls-ca", format!("can't be used: {error}"))
            })?;
        }
        return Ok(roots);
    }
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        return Err(Error::invalid_option(
            "registry.tls-ca",
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

/// For those who ask in as many words for connections that anybody can read and change.
#[derive(Debug)]
struct AcceptAll(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
