//! The application's probes and lifecycle hooks, carried out by the proxy.
//!
//! The injector rewrites them to this port, because the kubelet cannot speak mutual TLS, and stores the originals in
//! `ISTIO_KUBE_APP_PROBERS`. Connections come from 127.0.0.6, which the redirection rules let pass.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use ironsail_runtime::admin::{Response, text};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Deserialize;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// Bytes of an answer that are read; a probe is about the status.
const MAX_ANSWER_BYTES: usize = 10 * 1024;

/// Source of connections to the application.
const PASSTHROUGH_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const PASSTHROUGH_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// Probes by path: `/app-health/<container>/readyz`.
#[derive(Clone, Debug, Default)]
pub struct Probes(BTreeMap<String, Probe>);

/// Why the probes are not understood.
#[derive(Debug, thiserror::Error)]
#[error("ISTIO_KUBE_APP_PROBERS is not valid")]
pub struct ProbesError(#[source] serde_json::Error);

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocketAction>,
    grpc: Option<Grpc>,
    /// Default 1, as for the kubelet.
    timeout_seconds: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGet {
    #[serde(default)]
    path: String,
    port: u16,
    #[serde(default)]
    scheme: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    http_headers: Vec<Header>,
}

#[derive(Clone, Debug, Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Clone, Debug, Deserialize)]
struct TcpSocketAction {
    port: u16,
}

#[derive(Clone, Debug, Deserialize)]
struct Grpc {
    port: u16,
    service: Option<String>,
}

/// A port of the application.
pub struct Target {
    pub ip: IpAddr,
    pub port: u16,
    pub tls: bool,
    /// Connect from the address that the redirection rules let pass.
    pub from_passthrough: bool,
}

/// An answer of the application.
pub struct AppAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Probes {
    /// Parses `ISTIO_KUBE_APP_PROBERS`; empty text means no probes.
    ///
    /// # Errors
    /// The text is no JSON of this shape.
    pub fn parse(json: &str) -> Result<Self, ProbesError> {
        if json.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(json).map(Self).map_err(ProbesError)
    }

    /// Carries out the probe of a path: 200 when the application is well, 500 with the reason otherwise.
    pub async fn answer(&self, path: &str, pod_ip: IpAddr) -> Response {
        let Some(probe) = self.0.get(path) else {
            return text(
                StatusCode::NOT_FOUND,
                format!("{path} is no probe of this pod\n"),
            );
        };
        let limit = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1));
        match tokio::time::timeout(limit, probe.run(pod_ip)).await {
            Ok(Ok(status)) => text(status, ""),
            Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            Err(_) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("no answer within {limit:?}\n"),
            ),
        }
    }
}

impl Probe {
    async fn run(&self, ip: IpAddr) -> io::Result<StatusCode> {
        let target = |port, tls| Target {
            ip,
            port,
            tls,
            from_passthrough: true,
        };
        if let Some(http) = &self.http_get {
            let tls = http.scheme.eq_ignore_ascii_case("https");
            let path = match http.path.strip_prefix('/') {
                Some(_) => http.path.clone(),
                None => format!("/{}", http.path),
            };
            let headers = http.headers()?;
            let answer = get(&target(http.port, tls), &path, headers, MAX_ANSWER_BYTES).await?;
            return Ok(answer.status);
        }
        if let Some(tcp) = &self.tcp_socket {
            connect(&target(tcp.port, false)).await?;
            return Ok(StatusCode::OK);
        }
        if let Some(grpc) = &self.grpc {
            let service = grpc.service.clone().unwrap_or_default();
            return check_health(&target(grpc.port, false), &service).await;
        }
        Err(io::Error::other("the probe has no action"))
    }
}

impl HttpGet {
    fn headers(&self) -> io::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("kube-probe/ironsail"));
        if !self.host.is_empty() {
            headers.insert(HOST, self.host.parse().map_err(io::Error::other)?);
        }
        for Header { name, value } in &self.http_headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(io::Error::other)?;
            let value: HeaderValue = value.parse().map_err(io::Error::other)?;
            // The kubelet's own User-Agent and Host give way to the user's.
            if matches!(name, HOST | USER_AGENT) {
                headers.insert(name, value);
            } else {
                headers.append(name, value);
            }
        }
        Ok(headers)
    }
}

async fn connect(target: &Target) -> io::Result<TcpStream> {
    let socket = match target.ip {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if target.from_passthrough {
        let source: IpAddr = match target.ip {
            IpAddr::V4(_) => PASSTHROUGH_V4.into(),
            IpAddr::V6(_) => PASSTHROUGH_V6.into(),
        };
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket
        .connect(SocketAddr::new(target.ip, target.port))
        .await
}

/// One GET on a connection of its own; at most `max_bytes` of the body are read.
pub async fn get(
    target: &Target,
    path: &str,
    mut headers: HeaderMap,
    max_bytes: usize,
) -> io::Result<AppAnswer> {
    let stream = connect(target).await?;
    let uri: Uri = path.parse().map_err(io::Error::other)?;
    if !headers.contains_key(HOST) {
        let host = SocketAddr::new(target.ip, target.port).to_string();
        headers.insert(HOST, host.parse().map_err(io::Error::other)?);
    }
    let mut request = http::Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    match target.tls {
        true => {
            let name = ServerName::IpAddress(target.ip.into());
            let stream = TlsConnector::from(unverified()?)
                .connect(name, stream)
                .await?;
            exchange(TokioIo::new(stream), request, max_bytes).await
        }
        false => exchange(TokioIo::new(stream), request, max_bytes).await,
    }
}

async fn exchange<T>(
    io: T,
    request: http::Request<Empty<Bytes>>,
    max_bytes: usize,
) -> io::Result<AppAnswer>
where
    T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        let (head, body) = response.into_parts();
        let body = match Limited::new(body, max_bytes).collect().await {
            Ok(collected) => collected.to_bytes(),
            // Longer than wanted: what counts is the status.
            Err(_) => Bytes::new(),
        };
        Ok(AppAnswer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
    .await;
    driver.abort();
    answer
}

/// `grpc.health.v1.Health/Check`: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.
async fn check_health(target: &Target, service: &str) -> io::Result<StatusCode> {
    let stream = connect(target).await?;
    let (sender, connection) = h2::client::handshake(stream)
        .await
        .map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let result = call_health(sender, target, service).await;
    driver.abort();
    result
}

async fn call_health(
    sender: h2::client::SendRequest<Bytes>,
    target: &Target,
    service: &str,
) -> io::Result<StatusCode> {
    let authority = SocketAddr::new(target.ip, target.port);
    let request = http::Request::builder()
        .method(Method::POST)
        .uri(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(())
        .map_err(io::Error::other)?;
    let mut sender = sender.ready().await.map_err(io::Error::other)?;
    let (response, mut body) = sender
        .send_request(request, false)
        .map_err(io::Error::other)?;
    body.send_data(
        frame(&HealthCheckRequest {
            service: service.to_owned(),
        }),
        true,
    )
    .map_err(io::Error::other)?;
    let mut response = response.await.map_err(io::Error::other)?;
    if response.status() != StatusCode::OK {
        return Err(io::Error::other(format!(
            "gRPC answered {}",
            response.status()
        )));
    }
    let mut message = Vec::new();
    while let Some(data) = response.body_mut().data().await {
        let data = data.map_err(io::Error::other)?;
        let _ = response
            .body_mut()
            .flow_control()
            .release_capacity(data.len());
        message.extend_from_slice(&data);
        if message.len() > MAX_ANSWER_BYTES {
            return Err(io::Error::other("the health answer is too long"));
        }
    }
    let answer = message
        .get(5..)
        .and_then(|body| <HealthCheckResponse as prost::Message>::decode(body).ok())
        .ok_or_else(|| io::Error::other("no health answer"))?;
    match answer.status {
        SERVING => Ok(StatusCode::OK),
        other => Err(io::Error::other(format!(
            "health status is {other}, not SERVING"
        ))),
    }
}

const SERVING: i32 = 1;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// A gRPC message: not compressed, length, bytes.
fn frame(message: &HealthCheckRequest) -> Bytes {
    let body = prost::Message::encode_to_vec(message);
    let mut bytes = Vec::with_capacity(body.len() + 5);
    bytes.push(0);
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes.into()
}

/// TLS that does not look at the certificate, as the kubelet's HTTPS probes do.
fn unverified() -> io::Result<Arc<rustls::ClientConfig>> {
    let provider = ironsail_runtime::tls::provider();
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Unverified(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
