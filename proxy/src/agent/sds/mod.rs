//! Secret discovery on a Unix socket: the workload's certificate for programs of the same pod, such as a stock Envoy.
//!
//! Names are the peer's: `default` is the workload's certificate, `ROOTCA` its roots, `file-cert:<chain>~<key>` and
//! `file-root:<path>` are files of the pod. Who can reach the socket may have the key: the folder decides.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret>

pub mod client;
mod secret;
mod session;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use ironsail_runtime::signal::Shutdown;
use ironsail_xds::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use ironsail_xds::secret_service::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::socket::{self, SocketError};
use secret::{SecretError, Secrets};
use session::{Asked, Session};

/// Time between looks at files that clients subscribed to, and at secrets that were absent.
const LOOK: Duration = Duration::from_secs(1);

/// Responses on their way to a client.
const QUEUE: usize = 4;

/// Serves the credential on `path` until `shutdown`.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(
    path: &Path,
    credential: super::Credentials,
    shutdown: Shutdown,
) -> Result<(), SocketError> {
    let listener = socket::bind(path)?;
    let path: PathBuf = path.to_owned();
    let service = SecretDiscoveryServiceServer::new(Service {
        secrets: Secrets::new(credential),
    });
    tokio::spawn(async move {
        let ended = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async move {
                shutdown.triggered().await;
            })
            .await;
        if let Err(error) = ended {
            warn!(%error, path = %path.display(), "Secrets are no longer served");
        }
    });
    Ok(())
}

struct Service {
    secrets: Secrets,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Service {
    type DeltaSecretsStream = Responses<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Responses<DiscoveryResponse>;

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Ok(Response::new(self.stream(request.into_inner())))
    }

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        Ok(Response::new(self.stream(request.into_inner())))
    }

    async fn fetch_secrets(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("secrets are streamed"))
    }
}

impl Service {
    fn stream<Q, A>(&self, requests: Streaming<Q>) -> Responses<A>
    where
        Asked: From<Q>,
        Q: Send + 'static,
        A: From<session::Answer> + Send + 'static,
    {
        let (responses, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(follow(self.secrets.clone(), requests, responses));
        Box::pin(ReceiverStream::new(receiver))
    }
}

/// One client, until it goes.
async fn follow<Q, A>(
    mut secrets: Secrets,
    mut requests: Streaming<Q>,
    responses: mpsc::Sender<Result<A, Status>>,
) where
    Asked: From<Q>,
    A: From<session::Answer>,
{
    let mut session = Session::default();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mut is_asked = false;
        tokio::select! {
            request = requests.message() => match request {
                Ok(Some(request)) => {
                    session.take(Asked::from(request));
                    is_asked = true;
                }
                Ok(None) => return,
                Err(error) => return debug!(%error, "Client of secrets is gone"),
            },
            changed = secrets.changed() => if changed.is_err() {
                return;
            },
            _ = look.tick(), if session.waits_for_files() => {}
        }
        let read = |name: &str| match secrets.read(name) {
            Ok(secret) => Some(secret),
            Err(error) => {
                // Told once, not with every look.
                if is_asked && !matches!(error, SecretError::NotIssued) {
                    warn!(%error, name, "Secret cannot be served");
                }
                None
            }
        };
        if let Some(answer) = session.answer(read)
            && responses.send(Ok(answer.into())).await.is_err()
        {
            return;
        }
    }
}
