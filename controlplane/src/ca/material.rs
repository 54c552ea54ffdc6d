//! Key and certificates of an authority as Secrets and mounted folders hold them.

use std::collections::BTreeMap;
use std::fmt;

/// Secret with a root that the control plane made itself.
pub const SELF_SIGNED_SECRET: &str = "istio-ca-secret";
/// Secret with an authority that the user plugged in.
pub const PLUGGED_SECRET: &str = "cacerts";

pub const CA_CERT: &str = "ca-cert.pem";
pub const CA_KEY: &str = "ca-key.pem";
pub const ROOT_CERT: &str = "root-cert.pem";
pub const CERT_CHAIN: &str = "cert-chain.pem";
const TLS_CERT: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
const TLS_CA: &str = "ca.crt";

/// PEM texts of one authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    /// Certificate of the signer, perhaps followed by others.
    pub certificate: String,
    pub key: String,
    /// Certificates between the signer and the roots; may repeat the signer and the roots, may be empty.
    pub chain: String,
    /// Roots that workloads trust.
    pub roots: String,
}

/// Why files or data are no authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaterialError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not text")]
    Text(&'static str),
}

impl Material {
    /// Reads either naming: `ca-cert.pem`, `ca-key.pem`, `root-cert.pem`, `cert-chain.pem`, or `tls.crt`,
    /// `tls.key`, `ca.crt`. The certificate is the root where no root is given.
    ///
    /// # Errors
    /// Certificate or key are missing, or something is not UTF-8.
    pub fn read(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, MaterialError> {
        let is_tls = !has(data, CA_CERT) && has(data, TLS_CERT);
        let [certificate, key, roots] = match is_tls {
            true => [TLS_CERT, TLS_KEY, TLS_CA],
            false => [CA_CERT, CA_KEY, ROOT_CERT],
        };
        let certificate = required(data, certificate)?;
        let roots = optional(data, roots)?;
        Ok(Self {
            key: required(data, key)?,
            chain: optional(data, CERT_CHAIN)?,
            roots: match roots.trim() {
                "" => certificate.clone(),
                _ => roots,
            },
            certificate,
        })
    }

    /// Data of the Secret of a self-signed root, with every key that other control planes look at.
    pub fn to_data(&self) -> BTreeMap<String, Vec<u8>> {
        [
            (CA_CERT, &self.certificate),
            (CA_KEY, &self.key),
            (CERT_CHAIN, &self.chain),
            (ROOT_CERT, &self.roots),
        ]
        .into_iter()
        .map(|(key, text)| (key.to_owned(), text.clone().into_bytes()))
        .collect()
    }
}

impl fmt::Debug for Material {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("certificate", &self.certificate)
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

fn has(data: &BTreeMap<String, Vec<u8>>, key: &str) -> bool {
    data.get(key).is_some_and(|bytes| !bytes.is_empty())
}

fn required(data: &BTreeMap<String, Vec<u8>>, key: &'static str) -> Result<String, MaterialError> {
    match optional(data, key)? {
        text if text.trim().is_empty() => Err(MaterialError::Missing(key)),
        text => Ok(text),
    }
}

fn optional(data: &BTreeMap<String, Vec<u8>>, key: &'static str) -> Result<String, MaterialError> {
    let bytes = data.get(key).cloned().unwrap_or_default();
    String::from_utf8(bytes).map_err(|_| MaterialError::Text(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(entries: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        entries
            .iter()
            .map(|(key, text)| ((*key).to_owned(), text.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn both_namings_are_read() {
        let own = data(&[
            (CA_CERT, "c"),
            (CA_KEY, "k"),
            (ROOT_CERT, "r"),
            (CERT_CHAIN, "h"),
        ]);
        let material = Material::read(&own).expect("complete");
        assert_eq!(
            (material.roots.as_str(), material.chain.as_str()),
            ("r", "h")
        );
        assert_eq!(material.to_data(), own);
        let tls = data(&[("tls.crt", "c"), ("tls.key", "k"), ("ca.crt", "r")]);
        assert_eq!(Material::read(&tls).expect("complete").roots, "r");
        let self_signed = data(&[
            (CA_CERT, "c"),
            (CA_KEY, "k"),
            (ROOT_CERT, ""),
            (CERT_CHAIN, ""),
        ]);
        assert_eq!(Material::read(&self_signed).expect("complete").roots, "c");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            Material::read(&data(&[])),
            Err(MaterialError::Missing(CA_CERT))
        );
        assert_eq!(
            Material::read(&data(&[(CA_CERT, "c")])),
            Err(MaterialError::Missing(CA_KEY))
        );
    }

    #[test]
    fn keys_are_not_printed() {
        let material = Material::read(&data(&[(CA_CERT, "c"), (CA_KEY, "topsecret")])).expect("ok");
        assert!(!format!("{material:?}").contains("topsecret"));
    }
}
