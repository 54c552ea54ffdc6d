//! Asks the certificate authority: `istio.v1.auth.IstioCertificateService`.

use std::time::Duration;

use http::Uri;
use ironsail_runtime::net::{Connector, Resolver, TlsConnector};
use ironsail_runtime::tls::{self, TlsError};
use ironsail_xds::ca::CertificateClient;
use ironsail_xds::istio::{IstioCertificateRequest, IstioCertificateResponse};
use rustls::pki_types::ServerName;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::Config;
use super::credential::{Credential, CredentialError, Texts};
use super::csr::{CsrError, SigningRequest};
use super::token::{Token, TokenError};

/// Time for one request, connection included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why no certificate was issued. Worth another try, all of them.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Request(#[from] CsrError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("roots {path} cannot be read: {source}")]
    Roots {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("{0:?} is no server name")]
    ServerName(String),
    #[error("the authority cannot be reached: {0}")]
    Connect(#[source] tonic::transport::Error),
    #[error("no answer within {TIMEOUT:?}")]
    Timeout,
    #[error("the authority refuses: {} ({:?})", .0.message(), .0.code())]
    Refused(Box<Status>),
    #[error("the answer holds {0} certificates, a leaf and a root are needed")]
    Chain(usize),
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

/// What an authority's answer to a request makes: its elements are PEM, the leaf first, the roots last.
///
/// # Errors
/// Leaf or roots are missing or unreadable, or the leaf is not for the request's key.
pub fn credential(
    request: &SigningRequest,
    answer: &[String],
) -> Result<Credential, AuthorityError> {
    let Some((roots, chain)) = answer.split_last().filter(|(_, chain)| !chain.is_empty()) else {
        return Err(AuthorityError::Chain(answer.len()));
    };
    let chain: String = chain
        .iter()
        .map(|pem| format!("{}\n", pem.trim_end()))
        .collect();
    Ok(Credential::new(Texts {
        chain: &chain,
        key: request.key_pem(),
        roots,
    })?)
}

/// One authority. Every request reads token and roots anew and has a connection of its own.
pub(super) struct AuthorityClient {
    config: Config,
    resolver: Resolver,
}

impl AuthorityClient {
    pub(super) fn new(config: Config, resolver: Resolver) -> Self {
        Self { config, resolver }
    }

    /// A new key, and a certificate for it.
    pub(super) async fn issue(&self) -> Result<Credential, AuthorityError> {
        let request = SigningRequest::new(&self.config.identity, self.config.key_type)?;
        let answer = tokio::time::timeout(TIMEOUT, self.ask(&request)).await;
        let answer = answer.map_err(|_| AuthorityError::Timeout)??;
        credential(&request, &answer.cert_chain)
    }

    async fn ask(
        &self,
        signing: &SigningRequest,
    ) -> Result<IstioCertificateResponse, AuthorityError> {
        let mut request = Request::new(IstioCertificateRequest {
            csr: signing.csr_pem().to_owned(),
            validity_duration: i64::try_from(self.config.settings.ttl.as_secs()).unwrap_or(0),
            metadata: None,
        });
        let bearer = Token::read(&self.config.token)?.bearer();
        let metadata = request.metadata_mut();
        // Both texts are visible ASCII: the token was checked, cluster ids are names.
        if let Ok(value) = MetadataValue::try_from(bearer) {
            metadata.insert("authorization", value);
        }
        if let Ok(value) = MetadataValue::try_from(self.config.cluster_id.as_str()) {
            metadata.insert("clusterid", value);
        }
        let mut client = CertificateClient::new(self.connect().await?);
        let answer = client.create_certificate(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| AuthorityError::Refused(Box::new(status)))
    }

    async fn connect(&self) -> Result<Channel, AuthorityError> {
        let path = &self.config.roots;
        let roots = std::fs::read(path).map_err(|source| AuthorityError::Roots {
            path: path.display().to_string(),
            source,
        })?;
        let mut config = tls::client_config(tls::roots_from_pem(&roots)?, None)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = &self.config.server_name;
        let name = ServerName::try_from(name.clone())
            .map_err(|_| AuthorityError::ServerName(name.clone()))?;
        let connector =
            TlsConnector::new(Connector::new(self.resolver.clone()), config.into(), name);
        Endpoint::from(self.uri()?)
            .connect_with_connector(connector)
            .await
            .map_err(AuthorityError::Connect)
    }

    fn uri(&self) -> Result<Uri, AuthorityError> {
        let address = self.config.address.to_string();
        format!("https://{address}")
            .parse()
            .map_err(|_| AuthorityError::ServerName(address))
    }
}
