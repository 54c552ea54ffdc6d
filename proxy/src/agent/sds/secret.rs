//! What names of secrets stand for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ironsail_runtime::tls::{self, TlsError};
use ironsail_xds::core::{DataSource, data_source};
use ironsail_xds::ext::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use tokio::sync::watch;

use crate::agent::Credentials;

/// The workload's certificate.
pub const CERTIFICATE: &str = "default";
/// The roots that peers are verified with.
pub const ROOTS: &str = "ROOTCA";
const FILE_CERTIFICATE: &str = "file-cert:";
const FILE_ROOTS: &str = "file-root:";

/// The bundle of the image.
const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Larger files are no certificates.
const MAX_BYTES: u64 = 4 << 20;

/// Why there is no secret of a name.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("no certificate was issued yet")]
    NotIssued,
    #[error("no secret has such a name")]
    Name,
    #[error("{path} cannot be read: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is larger than {MAX_BYTES} bytes")]
    TooLarge { path: PathBuf },
    #[error("{path} is not served: {source}")]
    Content {
        path: PathBuf,
        #[source]
        source: TlsError,
    },
}

/// Finds secrets by name.
#[derive(Clone)]
pub struct Secrets {
    credential: Credentials,
}

impl Secrets {
    pub fn new(credential: Credentials) -> Self {
        Self { credential }
    }

    /// Waits for another credential of the workload. Cancel safe.
    ///
    /// # Errors
    /// The agent is gone.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.credential.changed().await
    }

    /// # Errors
    /// There is none, or its file cannot be read.
    pub fn read(&self, name: &str) -> Result<Secret, SecretError> {
        let content = match name {
            CERTIFICATE => {
                let credential = self.credential.borrow().clone();
                let credential = credential.ok_or(SecretError::NotIssued)?;
                certificate(credential.chain_pem().into(), credential.key_pem().into())
            }
            ROOTS => {
                let credential = self.credential.borrow().clone();
                let credential = credential.ok_or(SecretError::NotIssued)?;
                roots(credential.roots_pem().into())
            }
            name => of_files(name)?,
        };
        Ok(Secret {
            name: name.to_owned(),
            r#type: Some(content),
        })
    }
}

fn of_files(name: &str) -> Result<secret::Type, SecretError> {
    if let Some(paths) = name.strip_prefix(FILE_CERTIFICATE) {
        let (chain, key) = paths.split_once('~').ok_or(SecretError::Name)?;
        return Ok(certificate(certificates(chain)?, private_key(key)?));
    }
    match name.strip_prefix(FILE_ROOTS) {
        None => Err(SecretError::Name),
        Some("system") => Ok(roots(certificates(SYSTEM)?)),
        Some(path) => Ok(roots(certificates(path)?)),
    }
}

fn file(path: &str) -> Result<Vec<u8>, SecretError> {
    let path = Path::new(path);
    let failed = |source| SecretError::Read {
        path: path.to_owned(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        return Err(SecretError::TooLarge {
            path: path.to_owned(),
        });
    }
    fs::read(path).map_err(failed)
}

/// Only what holds a certificate leaves through the socket: it must not be a way to read any file.
fn certificates(path: &str) -> Result<Vec<u8>, SecretError> {
    let pem = file(path)?;
    tls::certificates(&pem).map_err(|source| content(path, source))?;
    Ok(pem)
}

fn private_key(path: &str) -> Result<Vec<u8>, SecretError> {
    let pem = file(path)?;
    tls::private_key(&pem).map_err(|source| content(path, source))?;
    Ok(pem)
}

fn content(path: &str, source: TlsError) -> SecretError {
    SecretError::Content {
        path: path.into(),
        source,
    }
}

fn certificate(chain: Vec<u8>, key: Vec<u8>) -> secret::Type {
    secret::Type::TlsCertificate(TlsCertificate {
        certificate_chain: inline(chain),
        private_key: inline(key),
        ..Default::default()
    })
}

fn roots(pem: Vec<u8>) -> secret::Type {
    secret::Type::ValidationContext(CertificateValidationContext {
        trusted_ca: inline(pem),
        ..Default::default()
    })
}

fn inline(bytes: Vec<u8>) -> Option<DataSource> {
    Some(DataSource {
        specifier: Some(data_source::Specifier::InlineBytes(bytes)),
        ..Default::default()
    })
}
