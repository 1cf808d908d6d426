//! TLS for clients: a certificate and its key.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What a server needs that shows a certificate.
///
/// # Errors
/// Files that cannot be read, or do not fit one another.
pub(crate) fn server(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, anyhow::Error> {
    let certificates = || -> Result<Vec<_>, rustls::pki_types::pem::Error> {
        CertificateDer::pem_file_iter(cert)?.collect()
    };
    let certificates = certificates().with_context(|| {
        format!(
            "cannot read certificates in {}; set TURLOUGH_STORE_TLS_CERT",
            cert.display()
        )
    })?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| {
        format!(
            "cannot read the key in {}; set TURLOUGH_STORE_TLS_KEY",
            key.display()
        )
    })?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .context("cannot speak TLS")?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("certificate and key do not fit; set TURLOUGH_STORE_TLS_CERT and TURLOUGH_STORE_TLS_KEY")?;
    Ok(Arc::new(config))
}
