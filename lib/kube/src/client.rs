//! The client of the API server. Names are resolved and connections made by `ironsail_runtime::net`,
//! never by the C library.

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use ironsail_runtime::net::{Connector, ResolveError, Resolver};
use kube::Client;
use kube::client::{ClientBuilder, ConfigExt};
use kube::config::{Config, InferConfigError};
use tower::{BoxError, ServiceExt as _};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no configuration of a cluster")]
    Config(#[source] InferConfigError),
    #[error("no name resolution")]
    Resolver(#[source] ResolveError),
    #[error("the configuration of the cluster can't be used")]
    Client(#[source] kube::Error),
}

/// A client of the cluster that `$KUBECONFIG` or the pod's account names.
///
/// # Errors
/// There is no such configuration, or it can't be used.
pub async fn connect() -> Result<Client, ClientError> {
    connect_to(Config::infer().await.map_err(ClientError::Config)?)
}

/// A client of the cluster of a configuration.
///
/// # Errors
/// The configuration can't be used.
pub fn connect_to(config: Config) -> Result<Client, ClientError> {
    let resolver = Resolver::from_system().map_err(ClientError::Resolver)?;
    let https = config
        .rustls_https_connector_with_connector(Connector::new(resolver))
        .map_err(ClientError::Client)?;
    let auth = config.auth_layer().map_err(ClientError::Client)?;
    let headers = config.extra_headers_layer();
    let headers = headers.map_err(ClientError::Client)?;
    let service = HttpClient::builder(TokioExecutor::new()).build(https);
    let service = service.map_err(BoxError::from);
    let builder =
        ClientBuilder::new(service, config.default_namespace.clone()).with_layer(&headers);
    Ok(match auth {
        Some(auth) => builder
            .with_layer(&auth)
            .with_layer(&config.base_uri_layer())
            .build(),
        None => builder.with_layer(&config.base_uri_layer()).build(),
    })
}
