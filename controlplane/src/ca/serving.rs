//! TLS of the control plane's own servers: certificates of its own authority, in memory, renewed while serving.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ironsail_runtime::log::chain;
use ironsail_runtime::signal::Shutdown;
use ironsail_runtime::tls;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use tracing::{debug, error};

use crate::ca::authority::{Authority, SignError};
use crate::ca::handle::{CaHandle, CaState};

/// Validity of a serving certificate, if the authority lives that long.
const LIFETIME: time::Duration = time::Duration::days(30);
/// Pause after a certificate could not be made.
const RETRY: Duration = Duration::from_secs(5);

/// The certificate that servers show, and whom they trust as clients.
#[derive(Default)]
pub struct Serving {
    key: ArcSwapOption<CertifiedKey>,
    clients: ArcSwapOption<Arc<dyn ClientCertVerifier>>,
}

/// Names that clients may know the control plane by.
///
/// `revision` is empty for the default one; `extra` are names of the installation.
pub fn dns_names(namespace: &str, revision: &str, extra: &[String]) -> Vec<String> {
    let mut services = vec!["istiod".to_owned()];
    if !matches!(revision, "" | "default") {
        services.push(format!("istiod-{revision}"));
    }
    services.extend(["istiod-remote".to_owned(), "istio-pilot".to_owned()]);
    let mut names: Vec<String> = services
        .into_iter()
        .map(|service| format!("{service}.{namespace}.svc"))
        .collect();
    for name in extra {
        if !name.is_empty() && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

impl Serving {
    /// Keeps the certificate fresh: anew when the authority changes and at half of its life.
    pub async fn run(self: Arc<Self>, handle: CaHandle, names: Vec<String>, shutdown: Shutdown) {
        let mut states = handle.subscribe();
        loop {
            let state = states.borrow_and_update().clone();
            let wait = match state {
                CaState::Ready(authority) => self.renew(&authority, &names),
                CaState::Starting | CaState::Refusing(_) => LIFETIME.unsigned_abs(),
            };
            let changed = async {
                tokio::select! {
                    changed = states.changed() => changed.is_ok(),
                    () = tokio::time::sleep(wait) => true,
                }
            };
            if shutdown.guard(changed).await != Some(true) {
                return;
            }
        }
    }

    /// Makes a certificate; returns when to make the next.
    fn renew(&self, authority: &Authority, names: &[String]) -> Duration {
        let now = OffsetDateTime::now_utc();
        match self.install(authority, names, now) {
            Ok(not_after) => {
                debug!(%not_after, "Serving certificate renewed");
                let half = (not_after - now) / 2;
                Duration::try_from(half).unwrap_or(RETRY).max(RETRY)
            }
            Err(error) => {
                error!(error = %chain(&error), "Serving certificate cannot be made");
                RETRY
            }
        }
    }

    fn install(
        &self,
        authority: &Authority,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<OffsetDateTime, ServingError> {
        let identity = authority.sign_server(names, LIFETIME, now)?;
        let provider = tls::provider();
        let key = CertifiedKey::from_der(identity.chain, identity.key, &provider)
            .map_err(ServingError::Key)?;
        let roots = tls::roots(authority.roots()).map_err(ServingError::Roots)?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(ServingError::Verifier)?;
        self.key.store(Some(Arc::new(key)));
        self.clients.store(Some(Arc::new(clients)));
        Ok(identity.not_after)
    }

    pub fn is_ready(&self) -> bool {
        self.key.load().is_some()
    }

    /// TLS of discovery and certificates: HTTP/2, client certificates of the mesh welcome but not needed.
    ///
    /// # Errors
    /// The crypto provider lacks the protocol versions.
    pub fn grpc_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(Clients(self.clone())))
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// TLS of webhooks: HTTP/1.1, no client certificates.
    ///
    /// # Errors
    /// As [`Self::grpc_config`].
    pub fn https_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Why no serving certificate could be made.
#[derive(Debug, thiserror::Error)]
enum ServingError {
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("key cannot be used: {0}")]
    Key(rustls::Error),
    #[error(transparent)]
    Roots(tls::TlsError),
    #[error("roots cannot verify clients: {0}")]
    Verifier(rustls::server::VerifierBuilderError),
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key.load_full()
    }
}

/// Verifies clients against the roots of now.
#[derive(Debug)]
struct Clients(Arc<Serving>);

impl Clients {
    fn inner(&self) -> Result<Arc<Arc<dyn ClientCertVerifier>>, rustls::Error> {
        self.0
            .clients
            .load_full()
            .ok_or_else(|| rustls::Error::General("no roots yet".to_owned()))
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Clients have one certificate; hints would tie them to the roots of this moment.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.inner()?.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner()?
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner()?
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider: Arc<CryptoProvider> = tls::provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_revisions() {
        assert_eq!(
            dns_names("istio-system", "canary", &["mesh.example.com".to_owned()]),
            [
                "istiod.istio-system.svc",
                "istiod-canary.istio-system.svc",
                "istiod-remote.istio-system.svc",
                "istio-pilot.istio-system.svc",
                "mesh.example.com",
            ]
        );
        assert_eq!(dns_names("a", "default", &[]).len(), 3);
    }
}
