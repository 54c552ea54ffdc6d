//! HTTP/2 upstream.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use super::Place;
use super::answer::{Answer, Kind};
use crate::board::{Entry, ID, printable};

/// Serves a connection whose first bytes were read already.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    first: Vec<u8>,
    place: Place,
) {
    let stream = Rewound { first, stream };
    let mut builder = server::Builder::new();
    builder.enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let place = place.clone();
        // A stream that ends early is the call's.
        tokio::spawn(async move {
            let _ = exchange(request, respond, &place).await;
        });
    }
}

async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    place: &Place,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let id = head.headers.get(ID).and_then(|id| id.to_str().ok());
    let protocol = head.extensions.get::<h2::ext::Protocol>();
    let lines = lines(&head, protocol);
    let (entry, answer) = place
        .board
        .arrive(id.unwrap_or_default(), &place.name, lines);
    let is_tunnel = head.method == http::Method::CONNECT;
    if !answer.early && !is_tunnel {
        read(&mut body, &entry, place).await?;
    }
    let stream = send(&mut respond, &answer, &head.method, is_tunnel).await?;
    if let (true, Some(stream)) = (is_tunnel, stream) {
        echo(body, stream).await?;
    }
    Ok(())
}

fn lines(head: &http::request::Parts, protocol: Option<&h2::ext::Protocol>) -> Vec<String> {
    let mut lines = vec![format!("{} {:?}", head.method, head.version)];
    let uri = &head.uri;
    if let Some(scheme) = uri.scheme() {
        lines.push(format!("  :scheme: {scheme}"));
    }
    if let Some(authority) = uri.authority() {
        lines.push(format!("  :authority: {authority}"));
    }
    if let Some(path) = uri.path_and_query() {
        lines.push(format!("  :path: {path}"));
    }
    if let Some(protocol) = protocol {
        lines.push(format!("  :protocol: {}", protocol.as_str()));
    }
    let headers = head.headers.iter();
    lines.extend(headers.map(|(name, value)| format!("  {name}: {}", printable(value.as_bytes()))));
    lines
}

async fn read(body: &mut RecvStream, entry: &Entry, place: &Place) -> Result<(), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    if !bytes.is_empty() {
        place
            .board
            .add(entry, format!("  [body] {}", printable(&bytes)));
    }
    for (name, value) in body.trailers().await?.iter().flatten() {
        let value = printable(value.as_bytes());
        place
            .board
            .add(entry, format!("  [trailer] {name}: {value}"));
    }
    Ok(())
}

async fn send(
    respond: &mut SendResponse<Bytes>,
    answer: &Answer,
    method: &http::Method,
    is_tunnel: bool,
) -> Result<Option<SendStream<Bytes>>, h2::Error> {
    sleep(answer.delay).await;
    let status = match &answer.kind {
        Kind::Response(status) => *status,
        Kind::Reset(code) => {
            respond.send_reset(Reason::from(*code));
            return Ok(None);
        }
        Kind::Close | Kind::Raw(_) => {
            respond.send_reset(Reason::NO_ERROR);
            return Ok(None);
        }
        Kind::Hang => {
            let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
            return Ok(None);
        }
    };
    for status in &answer.informational {
        let mut head = Response::new(());
        *head.status_mut() = http::StatusCode::from_u16(*status).unwrap_or_default();
        respond.send_informational(head)?;
    }
    let has_body = *method != http::Method::HEAD && !matches!(status, 204 | 304);
    let body = match has_body && !is_tunnel {
        true => Bytes::copy_from_slice(answer.body()),
        false => Bytes::new(),
    };
    let ends = body.is_empty() && answer.trailers.is_empty() && !is_tunnel && !answer.cut;
    let mut stream = respond.send_response(head(status, answer, &body), ends)?;
    sleep(answer.stall).await;
    if answer.cut {
        stream.send_data(body.slice(..body.len() / 2), false)?;
        sleep(std::time::Duration::from_millis(20)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
        return Ok(None);
    }
    if !ends && !is_tunnel {
        stream.send_data(body, answer.trailers.is_empty())?;
        if !answer.trailers.is_empty() {
            stream.send_trailers(map(&answer.trailers))?;
        }
    }
    Ok(Some(stream))
}

fn head(status: u16, answer: &Answer, body: &Bytes) -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    *head.headers_mut() = map(&answer.headers);
    let has_length = !answer.chunked && answer.trailers.is_empty() && !body.is_empty();
    if has_length {
        head.headers_mut()
            .insert(http::header::CONTENT_LENGTH, body.len().into());
    }
    head
}

/// What the h2 crate can send; calls do not ask it for more.
pub fn map(headers: &[(Vec<u8>, Vec<u8>)]) -> HeaderMap {
    let entry = |(name, value): &(Vec<u8>, Vec<u8>)| {
        Some((
            HeaderName::from_bytes(name).ok()?,
            HeaderValue::from_bytes(value).ok()?,
        ))
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter().filter_map(entry) {
        map.append(name, value);
    }
    map
}

async fn echo(mut body: RecvStream, mut stream: SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        stream.send_data(data, false)?;
    }
    stream.send_data(Bytes::new(), true)
}

/// A stream with what was read of it put back.
struct Rewound<S> {
    first: Vec<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..length]);
        self.first.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
