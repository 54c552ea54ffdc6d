//! HTTP/2 with the h2 crate: only what is well-formed can be said.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderName, HeaderValue, Method, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::{Noted, PATIENCE};
use crate::board::{ID, printable};
use crate::call::{Body, Request};
use crate::server::h2_headers;

/// How long a connection is looked at for its end.
const LINGER: Duration = Duration::from_millis(40);

/// Sends a request as often as it wants to be sent, and notes the answers.
///
/// # Errors
/// The request cannot be said with the h2 crate.
pub async fn speak<S>(stream: S, request: &Request, id: &str) -> anyhow::Result<Noted>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok((client, connection)) = client::handshake(stream).await else {
        return Ok(Noted::only("closed"));
    };
    let driver = tokio::spawn(connection);
    let mut noted = Noted::default();
    for _ in 0..request.times {
        let head = head(request, id)?;
        let exchange = exchange(client.clone(), head, request, &mut noted);
        let patience = request.leaves_after_ms.map(Duration::from_millis);
        match timeout(patience.unwrap_or(PATIENCE), exchange).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => note(&error, &mut noted),
            Err(_) => noted.statuses.push("silent".to_owned()),
        }
        tokio::time::sleep(request.pause).await;
    }
    let end = match timeout(LINGER, driver).await {
        Err(_) => "open".to_owned(),
        Ok(Ok(Err(error))) => error
            .reason()
            .map_or_else(|| "closed".to_owned(), |reason| format!("{reason:?}")),
        Ok(_) => "closed".to_owned(),
    };
    noted.lines.push(format!("[end] {end}"));
    Ok(noted)
}

fn note(error: &h2::Error, noted: &mut Noted) {
    let text = match error.reason() {
        Some(reason) => format!("{reason:?}").to_lowercase(),
        None => "closed".to_owned(),
    };
    if noted.lines.is_empty() {
        noted.statuses.push(text);
    } else {
        noted.lines.push(format!("  [stream] {text}"));
    }
}

fn head(request: &Request, id: &str) -> anyhow::Result<http::Request<()>> {
    let mut head = http::Request::new(());
    *head.method_mut() = Method::from_bytes(&request.method)?;
    *head.version_mut() = http::Version::HTTP_2;
    let mut uri = Uri::builder();
    if let Some(authority) = &request.authority {
        uri = uri.authority(&authority[..]);
    }
    let mut protocol = None;
    for (name, value) in &request.headers {
        match &name[..] {
            b":scheme" => uri = uri.scheme(&value[..]),
            b":protocol" => protocol = Some(String::from_utf8(value.clone())?),
            _ => {
                let name = HeaderName::from_bytes(name)?;
                head.headers_mut()
                    .append(name, HeaderValue::from_bytes(value)?);
            }
        }
    }
    let is_plain_connect = request.method == b"CONNECT" && protocol.is_none();
    if !is_plain_connect {
        let has_scheme = request.headers.iter().any(|(name, _)| name == b":scheme");
        uri = uri.path_and_query(&request.path[..]);
        if !has_scheme {
            uri = uri.scheme("http");
        }
    }
    if let Some(protocol) = protocol {
        head.extensions_mut()
            .insert(h2::ext::Protocol::from(protocol.as_str()));
    }
    *head.uri_mut() = uri.build()?;
    head.headers_mut().insert(ID, HeaderValue::from_str(id)?);
    if let Body::Sized(body) = &request.body {
        head.headers_mut()
            .insert(http::header::CONTENT_LENGTH, body.len().into());
    }
    Ok(head)
}

async fn exchange(
    client: SendRequest<Bytes>,
    head: http::Request<()>,
    request: &Request,
    noted: &mut Noted,
) -> Result<(), h2::Error> {
    let mut client = client.ready().await?;
    let ends =
        matches!(request.body, Body::None) && request.trailers.is_empty() && request.then.is_none();
    let (mut response, mut stream) = client.send_request(head, ends)?;
    if !ends && request.then.is_none() {
        // A proxy may answer and reset the stream before it has read all.
        let _ = send(&mut stream, request);
    }
    while let Some(early) =
        std::future::poll_fn(|context| response.poll_informational(context)).await
    {
        let early = early?;
        noted.statuses.push(early.status().as_str().to_owned());
        lines(early.status(), early.headers(), noted);
    }
    let (head, mut body) = response.await?.into_parts();
    noted.statuses.push(head.status.as_str().to_owned());
    lines(head.status, &head.headers, noted);
    if let Some(then) = &request.then {
        stream.send_data(Bytes::copy_from_slice(then), true)?;
    }
    let length = head.headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    read(&mut body, length, noted).await
}

fn send(stream: &mut SendStream<Bytes>, request: &Request) -> Result<(), h2::Error> {
    let (Body::Sized(body) | Body::Chunked(body)) = &request.body else {
        return stream.send_trailers(h2_headers(&request.trailers));
    };
    let ends = request.trailers.is_empty();
    stream.send_data(Bytes::copy_from_slice(body), ends)?;
    match ends {
        true => Ok(()),
        false => stream.send_trailers(h2_headers(&request.trailers)),
    }
}

fn lines(status: http::StatusCode, headers: &http::HeaderMap, noted: &mut Noted) {
    noted.lines.push(format!("HTTP/2 {}", status.as_str()));
    for (name, value) in headers {
        let value = printable(value.as_bytes());
        noted.lines.push(format!("  {name}: {value}"));
    }
}

/// `length` is what the answer says of its body.
async fn read(
    body: &mut RecvStream,
    length: Option<usize>,
    noted: &mut Noted,
) -> Result<(), h2::Error> {
    let mut bytes = Vec::new();
    let is_whole = |bytes: &[u8]| length == Some(bytes.len());
    let end = loop {
        match or_end(body.data().await.transpose(), is_whole(&bytes)) {
            Ok(Some(data)) => {
                let _ = body.flow_control().release_capacity(data.len());
                bytes.extend_from_slice(&data);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if !bytes.is_empty() {
        noted.lines.push(format!("  [body] {}", printable(&bytes)));
    }
    end?;
    for (name, value) in or_end(body.trailers().await, is_whole(&bytes))?
        .iter()
        .flatten()
    {
        let value = printable(value.as_bytes());
        noted.lines.push(format!("  [trailer] {name}: {value}"));
    }
    Ok(())
}

/// The end, where the answer is whole and a reset only says that the rest of the request is not wanted. RFC 9113 section 8.1.
fn or_end<T>(part: Result<Option<T>, h2::Error>, is_whole: bool) -> Result<Option<T>, h2::Error> {
    match part {
        Err(error) if is_whole && error.reason() == Some(Reason::NO_ERROR) => Ok(None),
        part => part,
    }
}
