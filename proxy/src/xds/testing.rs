//! An ADS server whose answers a test writes.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use ironsail_runtime::signal::Shutdown;
use ironsail_xds::discovery::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use ironsail_xds::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::transport::server::Connected;

/// One stream of a client, seen from the server. Dropping it ends the stream.
pub(super) struct ServerStream<In, Out> {
    pub(super) metadata: MetadataMap,
    requests: tonic::Streaming<In>,
    responses: mpsc::UnboundedSender<Result<Out, tonic::Status>>,
}

impl<In, Out> ServerStream<In, Out> {
    /// The next request.
    pub(super) async fn request(&mut self) -> In {
        let request = self.requests.message().await.expect("the stream lives");
        request.expect("the client keeps the stream open")
    }

    pub(super) fn send(&self, response: Out) {
        self.responses.send(Ok(response)).expect("the client reads");
    }

    /// Ends the stream with an error.
    pub(super) fn fail(self, status: tonic::Status) {
        self.responses.send(Err(status)).expect("the client reads");
    }
}

pub(super) type DeltaStream = ServerStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
pub(super) type FullStream = ServerStream<DiscoveryRequest, DiscoveryResponse>;

/// Listens on a loopback port until dropped.
pub(super) struct FakeServer {
    pub(super) address: SocketAddr,
    delta: mpsc::UnboundedReceiver<DeltaStream>,
    full: mpsc::UnboundedReceiver<FullStream>,
    shutdown: Shutdown,
}

impl FakeServer {
    /// `tls` without a value means plaintext.
    pub(super) async fn start(tls: Option<rustls::ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let (delta_streams, delta) = mpsc::unbounded_channel();
        let (full_streams, full) = mpsc::unbounded_channel();
        let service = AggregatedDiscoveryServiceServer::new(Service {
            delta: delta_streams,
            full: full_streams,
        });
        let (connections, incoming) = mpsc::unbounded_channel();
        let shutdown = Shutdown::new();
        let accepting = shutdown.child();
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            accepting
                .guard(accept(listener, acceptor, connections))
                .await;
        });
        let serving = shutdown.child();
        tokio::spawn(async move {
            let incoming = UnboundedReceiverStream::new(incoming).map(Ok::<_, std::io::Error>);
            let server = Server::builder().add_service(service);
            serving.guard(server.serve_with_incoming(incoming)).await;
        });
        Self {
            address,
            delta,
            full,
            shutdown,
        }
    }

    pub(super) async fn delta_stream(&mut self) -> DeltaStream {
        self.delta.recv().await.expect("the server runs")
    }

    /// Whether no client began a delta stream that was not taken yet.
    pub(super) fn no_delta_stream(&mut self) -> bool {
        self.delta.try_recv().is_err()
    }

    pub(super) async fn full_stream(&mut self) -> FullStream {
        self.full.recv().await.expect("the server runs")
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    connections: mpsc::UnboundedSender<Connection>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let stream: Box<dyn Duplex> = match &tls {
            None => Box::new(stream),
            // A failed handshake is the client's to report.
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => Box::new(stream),
                Err(_) => continue,
            },
        };
        if connections.send(Connection(stream)).is_err() {
            return;
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

struct Connection(Box<dyn Duplex>);

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

struct Service {
    delta: mpsc::UnboundedSender<DeltaStream>,
    full: mpsc::UnboundedSender<FullStream>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, tonic::Status>> + Send>>;

fn begin<In, Out: Send + 'static>(
    request: tonic::Request<tonic::Streaming<In>>,
    streams: &mpsc::UnboundedSender<ServerStream<In, Out>>,
) -> Result<tonic::Response<Responses<Out>>, tonic::Status> {
    let (responses, outgoing) = mpsc::unbounded_channel();
    let (metadata, _, requests) = request.into_parts();
    let stream = ServerStream {
        metadata,
        requests,
        responses,
    };
    streams
        .send(stream)
        .map_err(|_| tonic::Status::unavailable("the test is over"))?;
    let outgoing = UnboundedReceiverStream::new(outgoing);
    Ok(tonic::Response::new(Box::pin(outgoing)))
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: tonic::Request<tonic::Streaming<DiscoveryRequest>>,
    ) -> Result<tonic::Response<Self::StreamAggregatedResourcesStream>, tonic::Status> {
        begin(request, &self.full)
    }

    async fn delta_aggregated_resources(
        &self,
        request: tonic::Request<tonic::Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<tonic::Response<Self::DeltaAggregatedResourcesStream>, tonic::Status> {
        begin(request, &self.delta)
    }
}
