//! Signing requests of workloads: PKCS#10, <https://www.rfc-editor.org/rfc/rfc2986>.

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// Longer requests are refused unread; an RSA-4096 request has about 2 kB.
pub const MAX_BYTES: usize = 64 * 1024;

/// What a request contributes to a certificate: the key. Names come from the caller's identity.
#[derive(Debug)]
pub struct SigningRequest {
    pub public_key: SubjectPublicKeyInfo,
    /// Whether the subject has a common name; its value is never used.
    pub has_common_name: bool,
}

/// Why a request is not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error("request is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("request is no PEM certificate request")]
    Pem,
    #[error("request does not parse")]
    Parse,
    #[error("request is not signed by its own key")]
    Signature,
    #[error("key of the request is of an unsupported kind")]
    Key,
}

impl SigningRequest {
    /// Parses a PEM request and checks that the sender has the key.
    ///
    /// # Errors
    /// The text is no request, its signature is wrong, or its key is neither RSA, ECDSA nor Ed25519.
    pub fn from_pem(text: &str) -> Result<Self, CsrError> {
        if text.len() > MAX_BYTES {
            return Err(CsrError::TooLong);
        }
        let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
            .map_err(|_| CsrError::Pem)?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| CsrError::Parse)?;
        if !rest.is_empty() {
            return Err(CsrError::Parse);
        }
        request
            .verify_signature()
            .map_err(|_| CsrError::Signature)?;
        let info = &request.certification_request_info;
        let public_key =
            SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|_| CsrError::Key)?;
        Ok(Self {
            public_key,
            has_common_name: info.subject.iter_common_name().next().is_some(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn request(common_name: Option<&str>) -> String {
        let key = KeyPair::generate().expect("a key");
        let mut params =
            CertificateParams::new(vec!["evil.example.com".to_owned()]).expect("valid");
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let request = params.serialize_request(&key).expect("a request");
        request.pem().expect("PEM")
    }

    #[test]
    fn requests_are_read() {
        assert!(
            !SigningRequest::from_pem(&request(None))
                .expect("valid")
                .has_common_name
        );
        assert!(
            SigningRequest::from_pem(&request(Some("x")))
                .expect("valid")
                .has_common_name
        );
    }

    #[test]
    fn bad_requests_are_refused() {
        let good = request(None);
        let other = request(None);
        // The body of one request with the signature of another.
        let mut bytes = CertificateSigningRequestDer::from_pem_slice(good.as_bytes())
            .expect("valid")
            .to_vec();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        let forged = pem("CERTIFICATE REQUEST", &bytes);
        for (text, expected) in [
            ("", CsrError::Pem),
            ("-----BEGIN CERTIFICATE REQUEST-----\n", CsrError::Pem),
            (&pem("CERTIFICATE REQUEST", b"junk"), CsrError::Parse),
            (
                &other.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
                CsrError::Pem,
            ),
            (&forged, CsrError::Signature),
            (&"x".repeat(MAX_BYTES + 1), CsrError::TooLong),
        ] {
            assert_eq!(SigningRequest::from_pem(text).expect_err("bad"), expected);
        }
    }

    fn pem(label: &str, bytes: &[u8]) -> String {
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }
}
