//! HTTP/1 as bytes: what is sent is what the call says, what comes is noted as it is.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::{Noted, PATIENCE, end_of};
use crate::board::{ID, printable};
use crate::call::{Body, Protocol, Request};

/// How long a connection is looked at for its end when the answer does not announce it.
const LINGER: Duration = Duration::from_millis(40);

/// A head: first line and headers, without line ends, bytes that are not printable escaped.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub first: String,
    pub lines: Vec<String>,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reads messages; does not judge them.
pub struct Reader<S> {
    pub stream: S,
    pub buffer: Vec<u8>,
    /// How the other side ended, once it has.
    pub end: Option<&'static str>,
}

impl Head {
    /// Value of the first header of this name.
    pub fn value(&self, name: &str) -> Option<String> {
        let value = |line: &String| {
            let (found, value) = line.split_once(':')?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        };
        self.lines.iter().find_map(value)
    }

    fn length(&self) -> Option<Framing> {
        let encoding = self.value("transfer-encoding");
        if encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked")) {
            return Some(Framing::Chunked);
        }
        let length = self.value("content-length")?.parse().ok()?;
        Some(Framing::Length(length))
    }

    pub fn request_framing(&self) -> Framing {
        self.length().unwrap_or(Framing::Length(0))
    }

    fn status(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    fn response_framing(&self, method: &[u8]) -> Framing {
        match self.status() {
            "204" | "304" => Framing::Length(0),
            _ if method == b"HEAD" => Framing::Length(0),
            status if method == b"CONNECT" && status.starts_with('2') => Framing::Length(0),
            _ => self.length().unwrap_or(Framing::UntilClose),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    pub fn new(stream: S, first: Vec<u8>) -> Self {
        Self {
            stream,
            buffer: first,
            end: None,
        }
    }

    /// The next head; `None`: the other side ended before its end.
    pub async fn head(&mut self) -> Option<Head> {
        let bytes = self.until(b"\r\n\r\n").await?;
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let mut line = || lines.next().map(printable_line);
        let first = line()?;
        let mut rest = Vec::new();
        while let Some(line) = line().filter(|line| !line.is_empty()) {
            rest.push(line);
        }
        Some(Head { first, lines: rest })
    }

    /// Body and trailers; `None`: cut short.
    pub async fn body(&mut self, framing: Framing) -> Option<(Vec<u8>, Vec<String>)> {
        match framing {
            Framing::Length(length) => {
                while self.buffer.len() < length {
                    self.fill().await?;
                }
                Some((self.buffer.drain(..length).collect(), Vec::new()))
            }
            Framing::UntilClose => {
                self.until_end().await;
                Some((std::mem::take(&mut self.buffer), Vec::new()))
            }
            Framing::Chunked => self.chunks().await,
        }
    }

    /// Reads on until the other side ends.
    pub async fn until_end(&mut self) {
        while self.fill().await.is_some() {}
    }

    async fn chunks(&mut self) -> Option<(Vec<u8>, Vec<String>)> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n").await?;
            let line = String::from_utf8_lossy(&line);
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).ok()?;
            if size == 0 {
                break;
            }
            while self.buffer.len() < size + 2 {
                self.fill().await?;
            }
            body.extend(self.buffer.drain(..size + 2).take(size));
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.until(b"\r\n").await?;
            match printable_line(&line) {
                line if line.is_empty() => return Some((body, trailers)),
                line => trailers.push(line),
            }
        }
    }

    /// Takes bytes up to and with `end`.
    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.buffer.windows(end.len()).position(|part| part == end);
            if let Some(at) = found {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Option<()> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes).await {
            Ok(0) => self.end = Some("closed"),
            Err(error) => self.end = Some(end_of(&error)),
            Ok(length) => {
                self.buffer.extend_from_slice(&bytes[..length]);
                return Some(());
            }
        }
        None
    }
}

fn printable_line(line: &[u8]) -> String {
    printable(line.trim_ascii_end())
}

/// Sends a request as often as it wants to be sent, and notes the answers.
pub async fn speak<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: &Request,
    id: &str,
) -> Noted {
    let mut reader = Reader::new(stream, Vec::new());
    let mut noted = Noted::default();
    let bytes = bytes(request, id);
    for _ in 0..request.times {
        // A proxy may answer and close before it has read all.
        let _ = reader.stream.write_all(&bytes).await;
        let _ = reader.stream.flush().await;
        let answer = answer(&mut reader, &request.method, &mut noted);
        let patience = request.leaves_after_ms.map(Duration::from_millis);
        if timeout(patience.unwrap_or(PATIENCE), answer).await.is_err() {
            noted.statuses.push("silent".to_owned());
            return noted;
        }
        tokio::time::sleep(request.pause).await;
        if let Some(then) = &request.then {
            converse(&mut reader, then, &mut noted).await;
        }
        if reader.end.is_some() {
            break;
        }
    }
    finish(&mut reader, &mut noted).await;
    noted
}

/// Sends bytes, and notes as many answers as come.
pub async fn speak_raw<S: AsyncRead + AsyncWrite + Unpin>(stream: S, bytes: &[u8]) -> Noted {
    let mut reader = Reader::new(stream, Vec::new());
    let mut noted = Noted::default();
    let _ = reader.stream.write_all(bytes).await;
    let _ = reader.stream.flush().await;
    let method = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    let mut patience = PATIENCE;
    while reader.end.is_none() {
        let answer = answer(&mut reader, method, &mut noted);
        if timeout(patience, answer).await.is_err() {
            if patience == PATIENCE {
                noted.statuses.push("silent".to_owned());
            }
            break;
        }
        patience = LINGER * 5;
    }
    finish(&mut reader, &mut noted).await;
    noted
}

/// Notes one answer with what came before it.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    reader: &mut Reader<S>,
    method: &[u8],
    noted: &mut Noted,
) {
    loop {
        let Some(head) = reader.head().await else {
            // The end after an answer is told by the last line.
            if noted.statuses.is_empty() {
                noted
                    .statuses
                    .push(reader.end.unwrap_or("closed").to_owned());
            }
            return;
        };
        let status = head.status().to_owned();
        noted.statuses.push(status.clone());
        noted.lines.push(head.first.clone());
        let headers = head.lines.iter().map(|line| format!("  {line}"));
        noted.lines.extend(headers);
        if status.starts_with('1') && status != "101" {
            continue;
        }
        if status != "101" {
            body(reader, head.response_framing(method), noted).await;
        }
        return;
    }
}

async fn body<S: AsyncRead + AsyncWrite + Unpin>(
    reader: &mut Reader<S>,
    framing: Framing,
    noted: &mut Noted,
) {
    let Some((body, trailers)) = reader.body(framing).await else {
        let part = printable(&reader.buffer);
        noted.lines.push(format!("  [body] cut short: {part}"));
        return;
    };
    if !body.is_empty() {
        noted.lines.push(format!("  [body] {}", printable(&body)));
    }
    let trailers = trailers.iter().map(|line| format!("  [trailer] {line}"));
    noted.lines.extend(trailers);
}

/// After the switch of protocols: says something and notes what comes back.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    reader: &mut Reader<S>,
    bytes: &[u8],
    noted: &mut Noted,
) {
    let _ = reader.stream.write_all(bytes).await;
    let _ = reader.stream.flush().await;
    let echoed =
        async { while reader.buffer.len() < bytes.len() && reader.fill().await.is_some() {} };
    let _ = timeout(LINGER * 5, echoed).await;
    let echoed = std::mem::take(&mut reader.buffer);
    noted.lines.push(format!("  [then] {}", printable(&echoed)));
}

/// Notes whether the connection goes on.
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(reader: &mut Reader<S>, noted: &mut Noted) {
    let announced = noted
        .lines
        .iter()
        .any(|line| line.eq_ignore_ascii_case("  connection: close"));
    let patience = if announced { PATIENCE } else { LINGER };
    let _ = timeout(patience, reader.until_end()).await;
    if !reader.buffer.is_empty() {
        noted
            .lines
            .push(format!("[more] {}", printable(&reader.buffer)));
    }
    let end = reader.end.unwrap_or("open");
    noted.lines.push(format!("[end] {end}"));
}

/// A request as it is sent.
pub fn bytes(request: &Request, id: &str) -> Vec<u8> {
    let version: &[u8] = match request.protocol {
        Protocol::Http10 => b" HTTP/1.0\r\n",
        _ => b" HTTP/1.1\r\n",
    };
    let mut bytes = [&request.method[..], b" ", &request.path, version].concat();
    let mut line = |name: &[u8], value: &[u8]| {
        bytes.extend_from_slice(&[name, b": ", value, b"\r\n"].concat());
    };
    if let Some(authority) = &request.authority {
        line(b"Host", authority);
    }
    line(ID.as_bytes(), id.as_bytes());
    for (name, value) in &request.headers {
        line(name, value);
    }
    match &request.body {
        Body::None => bytes.extend_from_slice(b"\r\n"),
        Body::Sized(body) => {
            line(b"Content-Length", body.len().to_string().as_bytes());
            bytes.extend_from_slice(&[b"\r\n", &body[..]].concat());
        }
        Body::Chunked(body) => {
            line(b"Transfer-Encoding", b"chunked");
            let size = format!("\r\n{:x}\r\n", body.len());
            bytes.extend_from_slice(&[size.as_bytes(), body, b"\r\n0\r\n"].concat());
            for (name, value) in &request.trailers {
                bytes.extend_from_slice(&[name, &b": "[..], value, b"\r\n"].concat());
            }
            bytes.extend_from_slice(b"\r\n");
        }
    }
    bytes
}
