//! A server that takes HTTP/1.1 as the letter of RFC 9112 has it, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Longest line and body that it takes; tests send less.
const MAX_BYTES: usize = 1024 * 1024;

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// `POST /a/b`
    pub target: String,
    /// Lines behind the request line.
    pub fields: Vec<String>,
    pub body: Vec<u8>,
}

/// The server; its threads end with the process.
pub struct Origin {
    pub port: u16,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Origin {
    /// Answers everything with 200 and this body.
    ///
    /// # Errors
    /// There is no port.
    pub fn start(body: &'static str) -> anyhow::Result<Self> {
        Self::answering(move |_| body.to_owned())
    }

    /// Answers everything with 200 and `served ` before method and target.
    ///
    /// # Errors
    /// There is no port.
    pub fn echoing() -> anyhow::Result<Self> {
        Self::answering(|received| format!("served {}", received.target))
    }

    fn answering(
        answer: impl Fn(&Received) -> String + Clone + Send + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), answer.clone());
                std::thread::spawn(move || serve(&stream, &answer, &log));
            }
        });
        Ok(Self { port, received })
    }

    /// All that it was asked so far, in order of arrival.
    pub fn received(&self) -> Vec<Received> {
        let received = self.received.lock();
        received.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves a connection until it ends or something on it is malformed.
fn serve(
    stream: &TcpStream,
    answer: &impl Fn(&Received) -> String,
    log: &Mutex<Vec<Received>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let received = read_request(&mut reader)?;
        let body = answer(&received);
        let of_head = received.target.starts_with("HEAD ");
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(received);
        let length = body.len();
        let text = if of_head { "" } else { body.as_str() };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
        writer.write_all(answer.as_bytes()).ok()?;
    }
}

fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    reader
        .take(MAX_BYTES as u64)
        .read_until(b'\n', &mut line)
        .ok()?;
    let line = line.strip_suffix(b"\r\n")?;
    Some(String::from_utf8_lossy(line).into_owned())
}

fn read_request(reader: &mut impl BufRead) -> Option<Received> {
    let line = read_line(reader)?;
    let (target, _) = line.rsplit_once(' ')?;
    let mut fields = Vec::new();
    loop {
        let field = read_line(reader)?;
        if field.is_empty() {
            break;
        }
        fields.push(field);
    }
    let value = |name: &str| {
        let mut pairs = fields.iter().filter_map(|field| field.split_once(':'));
        let (_, value) = pairs.find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        Some(value.trim().to_owned())
    };
    let body = match (value("transfer-encoding"), value("content-length")) {
        (Some(_), _) => read_chunks(reader)?,
        (None, Some(length)) => read_bytes(reader, length.parse().ok()?)?,
        (None, None) => Vec::new(),
    };
    Some(Received {
        target: target.to_owned(),
        fields,
        body,
    })
}

fn read_bytes(reader: &mut impl Read, length: usize) -> Option<Vec<u8>> {
    if length > MAX_BYTES {
        return None;
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn read_chunks(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(reader)?;
        let size = line.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            while !read_line(reader)?.is_empty() {}
            return Some(body);
        }
        body.extend(read_bytes(reader, size)?);
        read_line(reader).filter(String::is_empty)?;
    }
}
