//! The transport under TLS. rustls reads 4 KiB at a time, a quarter of a full record; here one system call reads all that
//! fits a buffer of the worker, and rustls has its pieces from there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::conn::Prefixed;
use crate::conn::buffer::{give_buffer, take_buffer};

/// Reads more at once than is asked for; writes pass.
#[derive(Debug)]
pub struct ReadAhead {
    inner: Prefixed,
    /// There while something in it was not asked for yet.
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl ReadAhead {
    pub fn new(inner: Prefixed) -> Self {
        Self {
            inner,
            buffer: None,
            start: 0,
            end: 0,
        }
    }

    pub fn inner(&self) -> &Prefixed {
        &self.inner
    }

    /// Reads into a buffer, which is kept unless nothing came.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = take_buffer();
        let mut read = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut self.inner).poll_read(cx, &mut read);
        (self.start, self.end) = (0, read.filled().len());
        if self.end == 0 {
            give_buffer(buffer);
        } else {
            self.buffer = Some(buffer);
        }
        polled
    }

    fn release(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            give_buffer(buffer);
        }
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.buffer.is_none() {
            ready!(this.poll_fill(cx))?;
        }
        let ahead = this.buffer.as_deref().unwrap_or_default();
        let ahead = ahead.get(this.start..this.end).unwrap_or_default();
        let taken = ahead.len().min(buf.remaining());
        buf.put_slice(ahead.get(..taken).unwrap_or_default());
        this.start = this.start.saturating_add(taken);
        if this.start >= this.end {
            this.release();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.release();
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::Raw;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn pieces_of_what_was_read_come_in_order_and_then_the_end() {
        let (mut far, near) = tokio::io::duplex(1024);
        let mut ahead = ReadAhead::new(Prefixed::with_prefix(
            Raw::Memory(near),
            b"pre".as_slice().into(),
        ));
        far.write_all(b"0123456789").await.expect("open");
        drop(far);
        let mut piece = [0; 4];
        let mut all = Vec::new();
        loop {
            let read = ahead.read(&mut piece).await.expect("open");
            if read == 0 {
                break;
            }
            all.extend_from_slice(&piece[..read]);
        }
        assert_eq!(all, b"pre0123456789");
        assert!(ahead.buffer.is_none(), "nothing is held after the end");
    }

    #[tokio::test]
    async fn who_waits_holds_no_buffer() {
        let (mut far, near) = tokio::io::duplex(1024);
        let mut ahead = ReadAhead::new(Prefixed::new(Raw::Memory(near)));
        let mut piece = [0; 4];
        let mut waiting = read_now(&mut ahead, &mut piece);
        assert!(waiting.is_none());
        far.write_all(b"0123456789").await.expect("open");
        waiting = read_now(&mut ahead, &mut piece);
        assert_eq!(waiting, Some(4));
        assert!(ahead.buffer.is_some(), "six bytes wait");
        assert_eq!(read_now(&mut ahead, &mut piece), Some(4));
        assert_eq!(read_now(&mut ahead, &mut piece), Some(2));
        assert!(read_now(&mut ahead, &mut piece).is_none());
        assert!(ahead.buffer.is_none());
    }

    /// Bytes of one read; `None` while there are none.
    fn read_now(ahead: &mut ReadAhead, piece: &mut [u8]) -> Option<usize> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut read = ReadBuf::new(piece);
        match Pin::new(ahead).poll_read(&mut cx, &mut read) {
            Poll::Ready(result) => {
                result.expect("open");
                Some(read.filled().len())
            }
            Poll::Pending => None,
        }
    }
}
