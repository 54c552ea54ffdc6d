//! The workload's certificate from an agent that is not ours, such as SPIRE's, over the same socket and protocol.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Uri;
use ironsail_runtime::net::UnixConnector;
use ironsail_runtime::retry::{Backoff, BackoffConfig};
use ironsail_xds::core::{DataSource, Node, data_source};
use ironsail_xds::discovery::{DiscoveryRequest, DiscoveryResponse};
use ironsail_xds::ext::transport_sockets::tls::v3::{Secret, secret};
use ironsail_xds::rpc::Status as Refusal;
use ironsail_xds::secret_service::secret_discovery_service_client::SecretDiscoveryServiceClient;
use ironsail_xds::{UnpackError, type_url, unpack};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Endpoint;
use tracing::{info, warn};

use super::secret::{CERTIFICATE, ROOTS};
use crate::agent::credential::{CredentialError, Texts};
use crate::agent::{AgentStats, Credential, Publisher};

const BACKOFF: BackoffConfig = BackoffConfig {
    initial: Duration::from_millis(500),
    max: Duration::from_secs(15),
    multiplier: 2.0,
    jitter: 0.2,
};

/// Why what the other agent sent is no credential. Never holds key material.
#[derive(Debug, thiserror::Error)]
enum ContentError {
    #[error(transparent)]
    Message(#[from] UnpackError),
    #[error("secret {0} refers to what is not in the message")]
    NotInline(String),
    #[error("text is not UTF-8")]
    NotText,
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

/// The other agent, as long as it is asked.
pub struct ForeignAgent {
    pub(in crate::agent) path: PathBuf,
    pub(in crate::agent) node: Node,
    pub(in crate::agent) publisher: Publisher,
    pub(in crate::agent) stats: Arc<AgentStats>,
}

impl ForeignAgent {
    /// Publishes every certificate that the agent sends. Never ends.
    pub async fn run(self) {
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            match self.stream(&mut backoff).await {
                Ok(()) => info!("Agent of another mesh closed the stream of secrets"),
                Err(error) => warn!(%error, path = %self.path.display(), "No stream of secrets"),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn stream(&self, backoff: &mut Backoff) -> anyhow::Result<()> {
        // The connector knows where to go; a URI must be there all the same.
        let channel = Endpoint::from(Uri::from_static("http://localhost"))
            .connect_with_connector(UnixConnector::new(&self.path))
            .await?;
        let (requests, outgoing) = mpsc::unbounded_channel();
        requests.send(self.request(None, None))?;
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let mut client = SecretDiscoveryServiceClient::new(channel);
        let mut responses = client.stream_secrets(outgoing).await?.into_inner();
        let mut parts = Parts::default();
        while let Some(response) = responses.message().await? {
            backoff.reset();
            let refusal = self.take(&response, &mut parts);
            requests.send(self.request(Some(&response), refusal))?;
        }
        Ok(())
    }

    /// Publishes a credential when one is complete; returns why not, if the response is unusable.
    fn take(&self, response: &DiscoveryResponse, parts: &mut Parts) -> Option<String> {
        let credential = parts.take(response).and_then(|()| parts.credential());
        match credential {
            Ok(None) => None,
            Ok(Some(credential)) => {
                info!(identity = ?credential.uri_sans(), "Certificate received");
                self.publisher.publish(credential);
                None
            }
            Err(error) => {
                self.stats.csr_failures.fetch_add(1, Ordering::Relaxed);
                warn!(%error, "Secrets are unusable");
                Some(error.to_string())
            }
        }
    }

    fn request(
        &self,
        response: Option<&DiscoveryResponse>,
        refusal: Option<String>,
    ) -> DiscoveryRequest {
        let accepted = response.filter(|_| refusal.is_none());
        DiscoveryRequest {
            version_info: accepted.map(|r| r.version_info.clone()).unwrap_or_default(),
            response_nonce: response.map(|r| r.nonce.clone()).unwrap_or_default(),
            node: response.is_none().then(|| self.node.clone()),
            resource_names: vec![CERTIFICATE.to_owned(), ROOTS.to_owned()],
            type_url: type_url::SECRET.to_owned(),
            error_detail: refusal.map(|message| Refusal {
                code: tonic::Code::InvalidArgument.into(),
                message,
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

/// Certificate and roots come one by one.
#[derive(Default)]
struct Parts {
    /// Chain and key.
    certificate: Option<(String, String)>,
    roots: Option<String>,
}

impl Parts {
    fn take(&mut self, response: &DiscoveryResponse) -> Result<(), ContentError> {
        for resource in &response.resources {
            let secret: Secret = unpack(resource)?;
            let text = |source: Option<DataSource>| text(&secret.name, source);
            match secret.r#type.clone() {
                Some(secret::Type::TlsCertificate(certificate)) => {
                    let chain = text(certificate.certificate_chain)?;
                    self.certificate = Some((chain, text(certificate.private_key)?));
                }
                Some(secret::Type::ValidationContext(context)) => {
                    self.roots = Some(text(context.trusted_ca)?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn credential(&self) -> Result<Option<Credential>, ContentError> {
        let (Some((chain, key)), Some(roots)) = (&self.certificate, &self.roots) else {
            return Ok(None);
        };
        let texts = Texts { chain, key, roots };
        Ok(Some(Credential::new(texts)?))
    }
}

fn text(name: &str, source: Option<DataSource>) -> Result<String, ContentError> {
    match source.and_then(|source| source.specifier) {
        Some(data_source::Specifier::InlineString(text)) => Ok(text),
        Some(data_source::Specifier::InlineBytes(bytes)) => {
            String::from_utf8(bytes).map_err(|_| ContentError::NotText)
        }
        _ => Err(ContentError::NotInline(name.to_owned())),
    }
}

/// Whether somebody answers on a socket.
pub async fn is_served(path: &Path) -> bool {
    tokio::net::UnixStream::connect(path).await.is_ok()
}
