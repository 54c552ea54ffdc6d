//! What a client calls the socket by, made readable.
//!
//! gRPC's C library names a Unix socket by its path, percent-encoded: `etc%2Fistio%2Fproxy%2FXDS`. An authority may
//! not look so (RFC 3986 section 3.2.2 has no such host, and our HTTP/2 library resets the stream), and nobody looks at
//! it. The library writes header values as they are, so the name can be found in what it sends and changed in place,
//! without another length.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// What stands for the percent signs.
const READABLE: u8 = b'-';
const READ_BYTES: usize = 8 * 1024;

/// A connection on which one text is replaced as it is read.
pub struct Readable {
    stream: UnixStream,
    /// What is to be found; never empty.
    name: Vec<u8>,
    /// Read and not passed on; the end may be the beginning of the name.
    buffer: BytesMut,
    is_ended: bool,
}

impl Readable {
    /// `socket` is the path by which the client knows the socket, absolute.
    pub fn new(stream: UnixStream, socket: &Path) -> Self {
        Self {
            stream,
            name: authority(socket).into_bytes(),
            buffer: BytesMut::new(),
            is_ended: false,
        }
    }

    /// Replaces the name where it is whole; returns how much may be passed on.
    fn repair(&mut self) -> usize {
        let name = &self.name;
        let mut start = 0;
        while let Some(found) = find(&self.buffer[start..], name) {
            let end = start + found + name.len();
            for byte in &mut self.buffer[start + found..end] {
                if *byte == b'%' {
                    *byte = READABLE;
                }
            }
            start = end;
        }
        if self.is_ended {
            return self.buffer.len();
        }
        let rest = &self.buffer[start..];
        let held = (1..name.len().min(rest.len() + 1))
            .rev()
            .find(|&length| rest.ends_with(&name[..length]));
        self.buffer.len() - held.unwrap_or(0)
    }
}

/// The name of a path in C's library: without the first slash, and what is no unreserved character encoded.
fn authority(socket: &Path) -> String {
    let path = socket.to_string_lossy();
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=@:[]".contains(&byte);
    let encoded = path
        .trim_start_matches('/')
        .bytes()
        .map(|byte| match is_plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        });
    encoded.collect()
}

fn find(text: &[u8], name: &[u8]) -> Option<usize> {
    text.windows(name.len()).position(|window| window == name)
}

impl AsyncRead for Readable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        output: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let ready = self.repair().min(output.remaining());
            if ready > 0 {
                output.put_slice(&self.buffer[..ready]);
                self.buffer.advance(ready);
                return Poll::Ready(Ok(()));
            }
            if self.is_ended {
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
            match read.filled() {
                [] => self.is_ended = true,
                bytes => self.buffer.extend_from_slice(bytes),
            }
        }
    }
}

impl AsyncWrite for Readable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What is read when the parts are sent one after the other.
    async fn read(parts: &[&str]) -> String {
        let (mut client, server) = UnixStream::pair().expect("a pair");
        let mut server = Readable::new(server, Path::new("/a/b-c/d"));
        let parts: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
        let sending = tokio::spawn(async move {
            for part in parts {
                client.write_all(part.as_bytes()).await.expect("is read");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        });
        let mut text = String::new();
        server.read_to_string(&mut text).await.expect("text");
        sending.await.expect("sends");
        text
    }

    #[tokio::test]
    async fn only_the_whole_name_is_changed() {
        for (parts, expected) in [
            (&["x a%2Fb-c%2Fd y"][..], "x a-2Fb-c-2Fd y"),
            (&["x a%2", "Fb-c%2F", "d y"], "x a-2Fb-c-2Fd y"),
            (&["a%2Fb-c%2Fe a%2F", "other"], "a%2Fb-c%2Fe a%2Fother"),
            (
                &["a%2Fa%2Fb-c%2Fda%2Fb-c%2Fd"],
                "a%2Fa-2Fb-c-2Fda-2Fb-c-2Fd",
            ),
            (&["the end a%2Fb"], "the end a%2Fb"),
            (&[""], ""),
        ] {
            assert_eq!(read(parts).await, expected, "{parts:?}");
        }
    }
}
