//! The least of an HTTP/1.1 client: one request at a time on a port of loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that stays open as long as it is held.
pub struct Connection(BufReader<TcpStream>);

/// Asks once, on a connection of its own.
///
/// # Errors
/// Anything but an answer with status 200.
pub fn get(port: u16, host: &str, path: &str) -> anyhow::Result<String> {
    Connection::open(port)?.get(host, path)
}

/// Posts nothing, on a connection of its own; as [`get`].
///
/// # Errors
/// As for [`get`].
pub fn post(port: u16, host: &str, path: &str) -> anyhow::Result<String> {
    Connection::open(port)?.request("POST", host, path)
}

impl Connection {
    /// Connects to a port of loopback.
    pub fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        // A small buffer: thousands of connections are held at a time.
        Ok(Self(BufReader::with_capacity(1024, stream)))
    }

    /// Asks, and reads the whole answer.
    pub fn get(&mut self, host: &str, path: &str) -> anyhow::Result<String> {
        self.request("GET", host, path)
    }

    fn request(&mut self, method: &str, host: &str, path: &str) -> anyhow::Result<String> {
        let length = match method {
            "POST" => "content-length: 0\r\n",
            _ => "",
        };
        // In one write: a listener that finds out what is spoken may look at the first packet only.
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{length}\r\n");
        self.0.get_mut().write_all(head.as_bytes())?;
        let status = self.line()?;
        let framing = self.headers()?;
        let body = match framing {
            Some(Framing::Length(length)) => self.exactly(length)?,
            Some(Framing::Chunked) => self.chunks()?,
            None => bail!("{path} is answered without length"),
        };
        let body = String::from_utf8(body)?;
        if !status.starts_with("HTTP/1.1 200") {
            bail!("{path} is answered with {status:?}: {body}");
        }
        Ok(body)
    }

    fn headers(&mut self) -> anyhow::Result<Option<Framing>> {
        let mut framing = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", value)) => {
                    framing = Some(Framing::Length(value.trim().parse()?));
                }
                Some(("transfer-encoding", _)) => framing = Some(Framing::Chunked),
                Some(_) => {}
                None => return Ok(framing),
            }
        }
    }

    fn chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let length = usize::from_str_radix(&line, 16)
                .with_context(|| format!("{line:?} is no chunk length"))?;
            body.append(&mut self.exactly(length)?);
            self.line()?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    fn exactly(&mut self, length: usize) -> anyhow::Result<Vec<u8>> {
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(body)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

/// How long a body is.
enum Framing {
    Length(usize),
    Chunked,
}
