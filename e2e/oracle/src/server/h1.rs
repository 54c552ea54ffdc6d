//! HTTP/1 upstream: heads are noted as they come, answers are bytes.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

use super::answer::{Answer, Kind};
use super::{Ending, Place};
use crate::board::{ID, printable};
use crate::client::h1::{Head, Reader};

/// Answers the requests of a connection, which began with `first`.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    first: Vec<u8>,
    place: Place,
    ending: Ending,
) {
    let mut reader = Reader::new(stream, first);
    while let Some(head) = reader.head().await {
        // What ends the connection ends the loop.
        if exchange(&mut reader, &head, &place, &ending).await != Some(true) {
            return;
        }
    }
}

/// Answers one request; whether another may follow.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    reader: &mut Reader<S>,
    head: &Head,
    place: &Place,
    ending: &Ending,
) -> Option<bool> {
    let id = head.value(ID).unwrap_or_default();
    let mut lines = vec![head.first.clone()];
    lines.extend(head.lines.iter().map(|line| format!("  {line}")));
    let (entry, answer) = place.board.arrive(&id, &place.name, lines);
    if !answer.early {
        if head.value("expect").is_some() {
            let _ = reader
                .stream
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .await;
        }
        let (body, trailers) = reader.body(head.request_framing()).await?;
        if !body.is_empty() {
            place
                .board
                .add(&entry, format!("  [body] {}", printable(&body)));
        }
        for trailer in trailers {
            place.board.add(&entry, format!("  [trailer] {trailer}"));
        }
    }
    let goes_on = send(reader, head, &answer, ending).await;
    goes_on.ok()
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    reader: &mut Reader<S>,
    request: &Head,
    answer: &Answer,
    ending: &Ending,
) -> std::io::Result<bool> {
    sleep(answer.delay).await;
    let status = match &answer.kind {
        Kind::Response(status) => *status,
        Kind::Raw(bytes) => {
            reader.stream.write_all(bytes).await?;
            reader.stream.shutdown().await?;
            return Ok(false);
        }
        Kind::Close => return Ok(false),
        Kind::Reset(_) => {
            ending.reset();
            return Ok(false);
        }
        Kind::Hang => {
            reader.until_end().await;
            return Ok(false);
        }
    };
    for status in &answer.informational {
        let line = format!("HTTP/1.1 {status} Early\r\nx-early: {status}\r\n\r\n");
        reader.stream.write_all(line.as_bytes()).await?;
    }
    let body = answer.body();
    let connects = request.first.starts_with("CONNECT ") && (200..300).contains(&status);
    let is_tunnel = status == 101 || connects;
    let has_body =
        !request.first.starts_with("HEAD ") && !is_tunnel && !matches!(status, 204 | 304);
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status)).into_bytes();
    for (name, value) in &answer.headers {
        head.extend_from_slice(&[name, &b": "[..], value, b"\r\n"].concat());
    }
    let chunked = answer.chunked || !answer.trailers.is_empty();
    if chunked {
        head.extend_from_slice(b"transfer-encoding: chunked\r\n");
    } else if !answer.until_close && (has_body || request.first.starts_with("HEAD ")) {
        head.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    reader.stream.write_all(&head).await?;
    reader.stream.flush().await?;
    if is_tunnel {
        echo(reader).await;
        return Ok(false);
    }
    sleep(answer.stall).await;
    if answer.cut {
        let half = &body[..body.len() / 2];
        let half = match chunked {
            true => format!("{:x}\r\n{}", body.len(), String::from_utf8_lossy(half)).into_bytes(),
            false => half.to_vec(),
        };
        reader.stream.write_all(&half).await?;
        reader.stream.flush().await?;
        return Ok(false);
    }
    if has_body {
        reader
            .stream
            .write_all(&encode(body, chunked, answer))
            .await?;
        reader.stream.flush().await?;
    }
    Ok(!answer.until_close && !answer.closes && !answer.early)
}

fn encode(body: &[u8], chunked: bool, answer: &Answer) -> Vec<u8> {
    if !chunked {
        return body.to_vec();
    }
    let mut bytes = Vec::new();
    if !body.is_empty() {
        bytes.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n");
    for (name, value) in &answer.trailers {
        bytes.extend_from_slice(&[name, &b": "[..], value, b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// In a tunnel: what comes goes back.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(reader: &mut Reader<S>) {
    let mut buffer = std::mem::take(&mut reader.buffer);
    loop {
        if reader.stream.write_all(&buffer).await.is_err() {
            return;
        }
        buffer.resize(4096, 0);
        match reader.stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => buffer.truncate(length),
        }
    }
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown")
}
