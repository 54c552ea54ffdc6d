//! One call through a proxy in memory, and where it went.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use ironsail_xds::endpoint::ClusterLoadAssignment;
use ironsail_xds::endpoint::lb_endpoint::HostIdentifier;
use ironsail_xds::{core, type_url};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use super::server::{self, SILENCE, Servers};
use crate::resource::intern::Interner;
use crate::resource::tls::upstream_socket;
use crate::snapshot::Store;
use crate::testing::capture::Capture;
use crate::testing::memory::{self, Arrival};
use crate::testing::{Authority, client_hello, common_tls, upstream_tls};
use crate::transport_socket::secret::{Secrets, WorkloadCertificate};
use crate::worker::LocalNode;

const PEER: &str = "spiffe://cluster.local/ns/default/sa/peer";
/// Who this proxy is.
pub(super) const OWN: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";

/// How a call reaches the proxy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry {
    /// Redirected on its way out of the pod.
    Outbound,
    /// Redirected on its way into the pod.
    Inbound,
    /// To the proxy itself.
    Gateway,
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) entry: Entry,
    pub(super) to: SocketAddr,
    pub(super) says: Says,
}

/// What a client says.
#[derive(Clone, Debug)]
pub(super) enum Says {
    Nothing,
    Text(&'static str, Option<Mesh>),
    Get(Get, Option<Mesh>),
    /// The ClientHello of an application's own TLS, with this server name.
    Hello(&'static str),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Get {
    host: &'static str,
    path: &'static str,
    http2: bool,
}

/// Mutual TLS of the mesh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mesh {
    alpn: &'static [&'static str],
    /// The client's certificate is one of the mesh.
    is_member: bool,
}

pub(super) fn destination(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn request(host: &'static str, path: &'static str, http2: bool) -> Get {
    Get { host, path, http2 }
}

fn member(alpn: &'static [&'static str]) -> Option<Mesh> {
    let is_member = true;
    Some(Mesh { alpn, is_member })
}

pub(super) fn get(host: &'static str, path: &'static str) -> Says {
    Says::Get(request(host, path, false), None)
}

pub(super) fn get_h2(host: &'static str, path: &'static str) -> Says {
    Says::Get(request(host, path, true), None)
}

/// HTTP/1.1 through mutual TLS.
pub(super) fn mesh(alpn: &'static [&'static str], host: &'static str, path: &'static str) -> Says {
    Says::Get(request(host, path, false), member(alpn))
}

pub(super) fn mesh_h2(host: &'static str, path: &'static str) -> Says {
    Says::Get(request(host, path, true), member(&["istio-h2", "h2"]))
}

/// A client with a certificate of another mesh.
pub(super) fn stranger(host: &'static str, path: &'static str) -> Says {
    let mesh = Mesh {
        alpn: &["istio-http/1.1"],
        is_member: false,
    };
    Says::Get(request(host, path, false), Some(mesh))
}

pub(super) fn tcp(text: &'static str) -> Says {
    Says::Text(text, None)
}

pub(super) fn mesh_tcp(alpn: &'static [&'static str], text: &'static str) -> Says {
    Says::Text(text, member(alpn))
}

pub(super) fn tls(server_name: &'static str) -> Says {
    Says::Hello(server_name)
}

/// Where a call should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// As it is to a host of this cluster, which answers.
    Cluster(&'static str),
    /// The same, through mutual TLS.
    Secured(&'static str),
    /// Nowhere; the proxy answers.
    Status(u16),
    /// Nowhere; the connection ends.
    Closed,
}

pub(super) fn goes(cluster: &'static str) -> Answer {
    Answer::Cluster(cluster)
}

pub(super) fn secured(cluster: &'static str) -> Answer {
    Answer::Secured(cluster)
}

/// What the client saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Status(u16),
    Bytes,
    Closed,
}

#[derive(Debug)]
pub(super) struct Outcome {
    /// The cluster of which a host was chosen.
    pub(super) cluster: Option<String>,
    dialled: Vec<SocketAddr>,
    /// Server names of handshakes with hosts.
    handshakes: Vec<String>,
    seen: Seen,
}

/// Makes a call through a new proxy with the configuration of a store.
pub(super) async fn run(call: &Call, store: &Store, authority: &Rc<Authority>) -> Outcome {
    let servers = Rc::new(Servers::default());
    let network = Rc::clone(&servers);
    let authority = Rc::clone(authority);
    let ours = Rc::clone(&authority);
    let mut proxy = memory::Proxy::new(LocalNode::default(), move |address| {
        let (near, far) = memory::stream();
        let serving = server::serve(far, address, Rc::clone(&network), Rc::clone(&ours));
        tokio::task::spawn_local(serving);
        Ok(near)
    });
    proxy.store = store.clone();
    proxy.apply();
    let stream = proxy
        .connect(arrival(call))
        .expect("the entry is configured");
    let seen = match mesh_of(&call.says) {
        None => speak(stream, &call.says).await,
        Some(mesh) => match secure(stream, mesh, &authority).await {
            Ok(stream) => speak(stream, &call.says).await,
            Err(_) => Seen::Closed,
        },
    };
    let clusters = proxy.worker.clusters.all();
    let chosen = clusters.iter().filter(|cluster| {
        let hosts = cluster.hosts();
        hosts.iter().any(|host| host.stats.rq_total.get() > 0)
    });
    let chosen: Vec<_> = chosen.map(|c| c.config.name.to_string()).collect();
    assert!(chosen.len() < 2, "{call:?} went to {chosen:?}");
    Outcome {
        cluster: chosen.into_iter().next(),
        dialled: servers.dialled.take(),
        handshakes: servers.handshakes.take(),
        seen,
    }
}

fn arrival(call: &Call) -> Arrival {
    let (at, destination) = match call.entry {
        Entry::Outbound => (([0, 0, 0, 0], 15001).into(), Some(call.to)),
        Entry::Inbound => (([0, 0, 0, 0], 15006).into(), Some(call.to)),
        Entry::Gateway => (call.to, None),
    };
    Arrival {
        at,
        remote: ([192, 0, 2, 1], 40000).into(),
        destination,
    }
}

fn mesh_of(says: &Says) -> Option<Mesh> {
    match says {
        Says::Nothing | Says::Hello(_) => None,
        Says::Text(_, mesh) | Says::Get(_, mesh) => *mesh,
    }
}

/// The handshake of a sidecar.
async fn secure(
    stream: DuplexStream,
    mesh: Mesh,
    authority: &Authority,
) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + 'static> {
    let ours = authority.workload(PEER);
    let certificate = match mesh.is_member {
        true => ours.certificate,
        false => Authority::new().workload(PEER).certificate,
    };
    let secrets = Secrets {
        workload: Some(WorkloadCertificate {
            certificate,
            roots: ours.roots,
        }),
        ..Secrets::default()
    };
    let socket = upstream_tls("outbound_.80_._.x", common_tls(mesh.alpn, &[OWN]));
    let socket = upstream_socket(&socket, &mut Interner::default()).expect("compiles");
    let context = socket.tls.expect("TLS");
    let secured = context.connect(stream, &secrets, None, None).await;
    let (stream, _) = secured.map_err(io::Error::other)?;
    Ok(stream)
}

/// Says it and waits for what comes back.
async fn speak<S>(mut stream: S, says: &Says) -> Seen
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let bytes = match says {
        Says::Nothing => Vec::new(),
        Says::Text(text, _) => text.as_bytes().to_vec(),
        Says::Hello(name) => client_hello(name),
        Says::Get(get, _) if get.http2 => return speak_h2(stream, get).await,
        Says::Get(get, _) => {
            let Get { host, path, .. } = get;
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes()
        }
    };
    if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
        return Seen::Closed;
    }
    let mut text = [0; 1024];
    match timeout(4 * SILENCE, stream.read(&mut text)).await {
        Ok(Ok(0) | Err(_)) | Err(_) => Seen::Closed,
        Ok(Ok(length)) => match status(&text[..length]) {
            Some(status) => Seen::Status(status),
            None => Seen::Bytes,
        },
    }
}

fn status(bytes: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

async fn speak_h2<S>(stream: S, get: &Get) -> Seen
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Ok((mut client, connection)) = h2::client::handshake(stream).await else {
        return Seen::Closed;
    };
    tokio::task::spawn_local(connection);
    let request = http::Request::get(format!("http://{}{}", get.host, get.path));
    let request = request.body(()).expect("valid");
    match client.send_request(request, true) {
        Ok((response, _)) => match response.await {
            Ok(response) => Seen::Status(response.status().as_u16()),
            Err(_) => Seen::Closed,
        },
        Err(_) => Seen::Closed,
    }
}

/// Whether a call went where it should, and there to an address that the capture has.
pub(super) fn passes(
    outcome: &Outcome,
    expected: Answer,
    call: &Call,
    capture: &Capture,
) -> Result<(), String> {
    let (cluster, handshakes) = match expected {
        Answer::Cluster(cluster) => (cluster, Vec::new()),
        Answer::Secured(cluster) => (cluster, vec![cluster.replace('|', "_.")]),
        Answer::Status(_) | Answer::Closed => return refused(outcome, expected),
    };
    let answered = match call.says {
        Says::Get(..) => outcome.seen == Seen::Status(200),
        _ => matches!(outcome.seen, Seen::Bytes | Seen::Status(200)),
    };
    let allowed = endpoints(capture, cluster).unwrap_or_else(|| vec![call.to]);
    let arrived = matches!(outcome.dialled[..], [one] if allowed.contains(&one));
    let chosen = outcome.cluster.as_deref() == Some(cluster);
    verdict(
        answered && arrived && chosen && outcome.handshakes == handshakes,
        outcome,
        expected,
    )
}

fn refused(outcome: &Outcome, expected: Answer) -> Result<(), String> {
    let seen = match expected {
        Answer::Status(status) => Seen::Status(status),
        _ => Seen::Closed,
    };
    let nowhere = outcome.cluster.is_none() && outcome.dialled.is_empty();
    verdict(nowhere && outcome.seen == seen, outcome, expected)
}

fn verdict(passed: bool, outcome: &Outcome, expected: Answer) -> Result<(), String> {
    if passed {
        return Ok(());
    }
    Err(format!("expected {expected:?}, saw {outcome:?}"))
}

/// Addresses of a cluster's endpoints; `None` for clusters that connect to the original destination.
fn endpoints(capture: &Capture, cluster: &str) -> Option<Vec<SocketAddr>> {
    let mut assignments = capture.resources(type_url::ENDPOINT);
    let (_, any) = assignments.find(|(name, _)| name == cluster)?;
    let assignment = ClusterLoadAssignment::decode(any.value.as_slice()).expect("well formed");
    let endpoints = assignment
        .endpoints
        .into_iter()
        .flat_map(|l| l.lb_endpoints);
    let address = |endpoint: Option<HostIdentifier>| {
        let Some(HostIdentifier::Endpoint(endpoint)) = endpoint else {
            return None;
        };
        let Some(core::address::Address::SocketAddress(socket)) = endpoint.address?.address else {
            return None;
        };
        let Some(core::socket_address::PortSpecifier::PortValue(port)) = socket.port_specifier
        else {
            return None;
        };
        format!("{}:{port}", socket.address).parse().ok()
    };
    Some(
        endpoints
            .filter_map(|e| address(e.host_identifier))
            .collect(),
    )
}
