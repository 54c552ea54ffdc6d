//! The gRPC side of a stream: authentication, messages in and out, the end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response as HttpResponse};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use ironsail_mesh::identity::Identity;
use ironsail_xds::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Status};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::ca::authenticate::Peer;
use crate::generate::SecretAccess;
use crate::model::proxy::ProxyNode;
use crate::push::Subscription;
use crate::xds::resource_type::ResourceType;
use crate::xds::session::{Event, Response, Session};
use crate::xds::{Discovery, frame};

const SERVICE: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";

/// Longest request that is read.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// Space that is made at once for a request that was announced: enough for the names of a large mesh.
const READ_AHEAD: usize = 64 * 1024;

/// Responses on their way to a client; when they are not taken, the stream waits, and changes merge meanwhile.
const QUEUE: usize = 4;

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";

/// Body of a response: messages as shared chunks, trailers at the end.
pub struct GrpcBody {
    messages: mpsc::Receiver<Result<Vec<Bytes>, Status>>,
    chunks: std::vec::IntoIter<Bytes>,
    is_done: bool,
}

impl Body for GrpcBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if let Some(chunk) = self.chunks.next() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            // The list itself is not kept while there is nothing to send.
            self.chunks = Vec::new().into_iter();
            if self.is_done {
                return Poll::Ready(None);
            }
            let trailers = match self.messages.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(chunks))) => {
                    self.chunks = chunks.into_iter();
                    continue;
                }
                Poll::Ready(Some(Err(status))) => trailers(&status),
                Poll::Ready(None) => trailers(&Status::ok("")),
            };
            self.is_done = true;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(GRPC_STATUS, HeaderValue::from(i32::from(status.code())));
    let message: String = status
        .message()
        .bytes()
        .map(|byte| match byte {
            b'%' | 0..=0x1f | 0x7f.. => format!("%{byte:02X}"),
            byte => char::from(byte).to_string(),
        })
        .collect();
    if let Ok(value) = HeaderValue::from_str(&message) {
        headers.insert(GRPC_MESSAGE, value);
    }
    headers
}

/// Whether a path is one of discovery.
pub fn is_discovery(path: &str) -> bool {
    path.starts_with(SERVICE)
}

impl Discovery {
    /// Answers a call of the discovery service; the stream itself runs in a task of its own.
    pub fn call<B>(&self, request: Request<B>, peer: Peer) -> HttpResponse<GrpcBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        static STREAMS: AtomicU64 = AtomicU64::new(1);
        let (sender, messages) = mpsc::channel(QUEUE);
        let path = request.uri().path().to_owned();
        let is_delta = match path.strip_prefix(SERVICE) {
            Some("StreamAggregatedResources") => Some(false),
            Some("DeltaAggregatedResources") => Some(true),
            _ => None,
        };
        let discovery = self.clone();
        let span = info_span!("stream", peer = %peer.address);
        let task = async move {
            let ended = match is_delta {
                Some(is_delta) => {
                    let stream = Stream {
                        id: STREAMS.fetch_add(1, Ordering::Relaxed),
                        is_delta,
                        peer,
                        sender: sender.clone(),
                        discovery,
                    };
                    stream.run(request).await
                }
                None => Err(Status::unimplemented("no such method")),
            };
            if let Err(status) = ended {
                match status.code() {
                    Code::Cancelled | Code::Ok => debug!(error = %status.message(), "Stream ended"),
                    _ => warn!(error = %status.message(), code = ?status.code(), "Stream refused"),
                }
                // The client may be gone.
                let _ = sender.send(Err(status)).await;
            }
        };
        tokio::spawn(task.instrument(span));
        let mut response = HttpResponse::new(GrpcBody {
            messages,
            chunks: Vec::new().into_iter(),
            is_done: false,
        });
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response
    }
}

struct Stream {
    id: u64,
    is_delta: bool,
    peer: Peer,
    sender: mpsc::Sender<Result<Vec<Bytes>, Status>>,
    discovery: Discovery,
}

impl Stream {
    async fn run<B>(self, request: Request<B>) -> Result<(), Status>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        let identity = self.authenticate(request.headers()).await?;
        let mut requests = Requests::new(request.into_body());
        let Some(first) = requests.next(self.is_delta).await? else {
            return Ok(());
        };
        let node = ProxyNode::from_node(first.node())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let access = self.authorize(identity.as_ref(), &node).await?;
        let subscription = self.discovery.publisher.subscribe();
        let Some(snapshot) = self.discovery.publisher.current() else {
            return Err(Status::unavailable("the configuration is not complete yet"));
        };
        let mut session = Session::new(
            self.is_delta,
            self.id,
            Arc::new(node),
            access,
            snapshot,
            Arc::clone(&self.discovery.cache),
        );
        let version = session
            .node()
            .metadata
            .istio_version
            .clone()
            .unwrap_or_default();
        let _registered = Registered::new(&self, &session, &version);
        info!(proxy = %session.node().id, delta = self.is_delta, "Proxy connected");
        self.handle(&mut session, first).await?;
        self.serve(&mut session, &mut requests, &subscription).await
    }

    async fn serve<B>(
        &self,
        session: &mut Session,
        requests: &mut Requests<B>,
        subscription: &Subscription,
    ) -> Result<(), Status>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        loop {
            tokio::select! {
                request = requests.next(self.is_delta) => match request? {
                    Some(request) => self.handle(session, request).await?,
                    None => return Ok(()),
                },
                (snapshot, changes) = subscription.next() => {
                    let start = Instant::now();
                    let responses = session.push(snapshot, &changes);
                    if !responses.is_empty() {
                        self.send(session, responses).await?;
                        self.discovery.metrics.convergence.observe(start.elapsed().as_secs_f64());
                    }
                }
            }
        }
    }

    /// Nobody on the plaintext port; there no secret is ever sent.
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Identity>, Status> {
        if !self.peer.is_tls {
            return Ok(None);
        }
        let authorization = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let asked = self.discovery.gate.authenticate(&self.peer, authorization);
        match asked.await {
            Ok(identity) => Ok(Some(identity)),
            Err(error) => {
                warn!(%error, "Client is not authenticated");
                Err(Status::from(error))
            }
        }
    }

    /// The node must be the caller: same namespace, and same service account where it names one.
    async fn authorize(
        &self,
        identity: Option<&Identity>,
        node: &ProxyNode,
    ) -> Result<SecretAccess, Status> {
        let Some(identity) = identity else {
            return Ok(SecretAccess::Denied);
        };
        let claimed = node.metadata.service_account.as_deref();
        let is_same = node.id.namespace == identity.namespace
            && claimed
                .is_none_or(|account| account.is_empty() || account == identity.service_account);
        if !is_same {
            warn!(%identity, proxy = %node.id, "Identity is not the node's");
            return Err(Status::permission_denied("the identity is not the node's"));
        }
        let is_router = node.id.node_type == ironsail_mesh::node::NodeType::Router;
        match is_router && self.discovery.gate.may_read_secrets(identity).await {
            true => Ok(SecretAccess::OwnNamespace),
            false => Ok(SecretAccess::Denied),
        }
    }

    async fn handle(&self, session: &mut Session, request: AnyRequest) -> Result<(), Status> {
        let Some(kind) = ResourceType::parse(request.type_url()) else {
            debug!(type_url = %request.type_url(), "Type is not served");
            return Ok(());
        };
        let outcome = match &request {
            AnyRequest::Whole(request) => session.on_request(kind, request),
            AnyRequest::Delta(request) => session.on_delta_request(kind, request),
        };
        let (event, responses) =
            outcome.map_err(|error| Status::resource_exhausted(error.to_string()))?;
        self.discovery.metrics.event(kind, &event);
        if let Event::Rejected(error) = &event {
            warn!(proxy = %session.node().id, type_url = kind.short(), %error, "Proxy rejected resources");
        }
        self.send(session, responses).await?;
        self.discovery.connections.update(self.id, session);
        Ok(())
    }

    async fn send(&self, session: &Session, responses: Vec<Response>) -> Result<(), Status> {
        for response in responses {
            debug!(
                proxy = %session.node().id,
                type_url = response.kind.short(),
                resources = response.resources.len(),
                removed = response.removed.len(),
                nonce = %response.nonce,
                "Push"
            );
            let chunks = match self.is_delta {
                true => frame::delta(&response),
                false => frame::state_of_the_world(&response),
            };
            self.discovery.metrics.sent(&response);
            // A client that takes its time must not hold what is framed already.
            drop(response);
            if self.sender.send(Ok(chunks)).await.is_err() {
                return Err(Status::cancelled("the client is gone"));
            }
        }
        self.discovery.connections.update(self.id, session);
        Ok(())
    }
}

/// Counts a stream as long as it lives.
struct Registered<'a> {
    stream: &'a Stream,
    version: String,
}

impl<'a> Registered<'a> {
    fn new(stream: &'a Stream, session: &Session, version: &str) -> Self {
        let discovery = &stream.discovery;
        discovery
            .connections
            .add(stream.id, session, &stream.peer.address.to_string());
        discovery.metrics.connected(version, 1);
        Self {
            stream,
            version: version.to_owned(),
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.stream.discovery.connections.remove(self.stream.id);
        self.stream.discovery.metrics.connected(&self.version, -1);
    }
}

enum AnyRequest {
    Whole(DiscoveryRequest),
    Delta(DeltaDiscoveryRequest),
}

impl AnyRequest {
    fn type_url(&self) -> &str {
        match self {
            AnyRequest::Whole(request) => &request.type_url,
            AnyRequest::Delta(request) => &request.type_url,
        }
    }

    fn node(&self) -> Option<&ironsail_xds::core::Node> {
        match self {
            AnyRequest::Whole(request) => request.node.as_ref(),
            AnyRequest::Delta(request) => request.node.as_ref(),
        }
    }
}

/// Messages of a request body.
struct Requests<B> {
    body: B,
    buffer: BytesMut,
}

impl<B> Requests<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    fn new(body: B) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
        }
    }

    /// The next message; nothing at the end of the stream. Cancel safe: what was read stays in the buffer.
    async fn next(&mut self, is_delta: bool) -> Result<Option<AnyRequest>, Status> {
        loop {
            if let Some(message) = self.take()? {
                let malformed = |error: prost::DecodeError| {
                    Status::invalid_argument(format!("the request does not decode: {error}"))
                };
                return Ok(Some(match is_delta {
                    true => AnyRequest::Delta(
                        DeltaDiscoveryRequest::decode(message).map_err(malformed)?,
                    ),
                    false => {
                        AnyRequest::Whole(DiscoveryRequest::decode(message).map_err(malformed)?)
                    }
                }));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(Status::cancelled(error.to_string())),
                None => return Ok(None),
            }
        }
    }

    /// One whole message out of the buffer: flag, length, bytes.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((&flag, rest)) = self.buffer.split_first() else {
            return Ok(None);
        };
        let Some(length) = rest
            .first_chunk::<4>()
            .map(|bytes| u32::from_be_bytes(*bytes))
        else {
            return Ok(None);
        };
        if flag != 0 {
            return Err(Status::unimplemented("compressed requests are not read"));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_REQUEST_BYTES {
            return Err(Status::resource_exhausted(format!(
                "a request of {length} bytes is longer than {MAX_REQUEST_BYTES}"
            )));
        }
        let missing = length.saturating_add(4).saturating_sub(rest.len());
        if missing > 0 {
            self.buffer.reserve(missing.min(READ_AHEAD));
            return Ok(None);
        }
        self.buffer.advance(5);
        let message = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // What a long list of names took is not kept for acknowledgements.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }
}
