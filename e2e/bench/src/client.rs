//! The least of an HTTP/1.1 client: one request at a time, answers with a known length.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::config::HOST;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that stays open as long as it is held.
pub struct Connection(BufReader<TcpStream>);

/// Asks once, on a connection of its own.
///
/// # Errors
/// Anything but an answer with status 200.
pub fn get(port: u16, path: &str) -> anyhow::Result<String> {
    Connection::open(port)?.get(path)
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
    pub fn get(&mut self, path: &str) -> anyhow::Result<String> {
        write!(
            self.0.get_mut(),
            "GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n"
        )?;
        let status = self.line()?;
        if !status.starts_with("HTTP/1.1 200") {
            bail!("{path} is answered with {status:?}");
        }
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().ok(),
                Some(_) => {}
                None => break,
            }
        }
        let length: usize = length.with_context(|| format!("{path} is answered without length"))?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}
