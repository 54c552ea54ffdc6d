//! Connections to the control plane, and what goes with a stream.

use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use ironsail_runtime::net::{Connector, TlsConnector};
use ironsail_runtime::tls;
use rustls_pki_types::ServerName;
use tonic::codegen::http::Uri;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};

use super::{ClientConfig, ConfigError, StreamError};

const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Flow control windows, so that a large response is not paced by the round-trip time.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// How connections are protected.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Without authentication in either direction; the token is not sent.
    Plaintext,
    Tls {
        roots: Roots,
        /// Name in the server's certificate; default is the host of the address.
        server_name: Option<String>,
    },
}

/// Trust anchors of the control plane's certificate.
#[derive(Clone, Debug)]
pub enum Roots {
    /// A PEM file, read for each connection.
    File(PathBuf),
    /// PEM text.
    Pem(Vec<u8>),
}

/// A connection on which a stream can begin.
pub(super) struct Connected {
    pub(super) channel: Channel,
    pub(super) metadata: MetadataMap,
}

/// Makes connections; what does not change from one to the next is checked once.
pub(super) struct Connection {
    endpoint: Endpoint,
    tcp: Connector,
    /// The roots of the server's certificate and the name in it; `None` means plaintext.
    tls: Option<(Roots, ServerName<'static>)>,
    metadata: MetadataMap,
}

impl Connection {
    pub(super) fn new(config: &ClientConfig) -> Result<Self, ConfigError> {
        let scheme = match config.transport {
            Transport::Plaintext => "http",
            Transport::Tls { .. } => "https",
        };
        let uri = uri(scheme, &config.address)?;
        let tls = match &config.transport {
            Transport::Plaintext => None,
            Transport::Tls { roots, server_name } => {
                let host = uri.host().unwrap_or_default();
                let name = server_name.as_deref().unwrap_or(host);
                Some((roots.clone(), parse_server_name(name)?))
            }
        };
        let endpoint = Endpoint::from(uri)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        Ok(Self {
            endpoint,
            tcp: Connector::new(config.resolver.clone()),
            tls,
            metadata: fixed_metadata(config)?,
        })
    }

    pub(super) async fn open(&self, config: &ClientConfig) -> Result<Connected, StreamError> {
        let mut metadata = self.metadata.clone();
        let connecting = match &self.tls {
            None => self.endpoint.connect_with_connector(self.tcp.clone()).await,
            Some((roots, name)) => {
                if let Some(token) = config.credentials.token().await {
                    metadata.insert("authorization", bearer(&token)?);
                }
                let settings = client_config(config, roots).await?;
                let connector = TlsConnector::new(self.tcp.clone(), settings, name.clone());
                self.endpoint.connect_with_connector(connector).await
            }
        };
        let channel = connecting.map_err(|error| StreamError::Connect(chain(&error)))?;
        Ok(Connected { channel, metadata })
    }
}

/// An error and what caused it.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let mut texts: Vec<String> = Vec::new();
    for text in causes.map(ToString::to_string) {
        // Some errors repeat their cause in their own text.
        if texts.last().is_none_or(|last| !last.ends_with(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

fn uri(scheme: &str, address: &str) -> Result<Uri, ConfigError> {
    let failed = |source| ConfigError::Address {
        address: address.to_owned(),
        source,
    };
    let uri =
        Uri::from_str(&format!("{scheme}://{address}")).map_err(|error| failed(Some(error)))?;
    let complete = uri.host().is_some_and(|host| !host.is_empty())
        && uri.port().is_some()
        && uri.path_and_query().is_none_or(|path| path == "/");
    complete.then_some(uri).ok_or_else(|| failed(None))
}

fn parse_server_name(name: &str) -> Result<ServerName<'static>, ConfigError> {
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    ServerName::try_from(bare.to_owned()).map_err(|_| ConfigError::ServerName {
        name: name.to_owned(),
    })
}

fn fixed_metadata(config: &ClientConfig) -> Result<MetadataMap, ConfigError> {
    let mut metadata = MetadataMap::new();
    let cluster_id = (!config.cluster_id.is_empty()).then_some(("clusterid", &config.cluster_id));
    let headers = config
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value));
    for (name, value) in cluster_id.into_iter().chain(headers) {
        let failed = || ConfigError::Metadata {
            name: name.to_owned(),
        };
        let key = AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes());
        let value = AsciiMetadataValue::try_from(value.as_str());
        metadata.append(key.map_err(|_| failed())?, value.map_err(|_| failed())?);
    }
    Ok(metadata)
}

fn bearer(token: &str) -> Result<AsciiMetadataValue, StreamError> {
    let mut value =
        AsciiMetadataValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| {
            StreamError::Connect("token holds characters that cannot be sent".to_owned())
        })?;
    value.set_sensitive(true);
    Ok(value)
}

/// TLS settings of the next connection, which speaks HTTP/2 only.
async fn client_config(
    config: &ClientConfig,
    roots: &Roots,
) -> Result<Arc<rustls::ClientConfig>, StreamError> {
    let mut settings = match config.credentials.client_config() {
        Some(settings) => Arc::unwrap_or_clone(settings),
        None => server_only(roots).await?,
    };
    settings.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(settings))
}

async fn server_only(roots: &Roots) -> Result<rustls::ClientConfig, StreamError> {
    let unusable = |error: tls::TlsError| {
        StreamError::Connect(format!(
            "root certificates cannot be used: {}",
            chain(&error)
        ))
    };
    let store = match roots {
        Roots::Pem(pem) => tls::roots_from_pem(pem),
        Roots::File(path) => {
            let pem = tokio::fs::read(path).await.map_err(|error| {
                StreamError::Connect(format!("{} is not readable: {error}", path.display()))
            })?;
            tls::roots_from_pem(&pem)
        }
    };
    tls::client_config(store.map_err(unusable)?, None).map_err(unusable)
}
