//! Buffers of a connection, borrowed from a free list of the thread while there is something in them.
//!
//! A connection that waits for its next message holds no buffer.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Size of a fresh buffer.
pub const BUFFER_SIZE: usize = 16 * 1024;
/// Buffers that a thread keeps for reuse, of each kind.
const KEPT: usize = 64;
/// Body pieces up to this size are copied behind the head, so that one system call sends both.
const COPY_LIMIT: usize = 8 * 1024;
/// A sender is told to wait while more than this is unsent.
const HIGH_WATERMARK: usize = 64 * 1024;

thread_local! {
    static READ_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static WRITE_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

type FreeList = std::thread::LocalKey<RefCell<Vec<Vec<u8>>>>;

fn give_back(list: &'static FreeList, buffer: Vec<u8>) {
    if buffer.capacity() == BUFFER_SIZE {
        list.with_borrow_mut(|free| {
            if free.len() < KEPT {
                free.push(buffer);
            }
        });
    }
}

/// Received bytes that nobody has consumed yet.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    /// Completely initialised; empty when released.
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    pub fn filled(&self) -> &[u8] {
        self.data.get(self.start..self.end).unwrap_or(&[])
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops the first `count` bytes; the memory goes back when none are left.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.release();
        }
    }

    /// Reads once, growing up to `limit` bytes of unconsumed input. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// Those of the transport; `OutOfMemory` when `limit` bytes are waiting already.
    pub fn poll_fill<T: AsyncRead + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
        limit: usize,
    ) -> Poll<io::Result<usize>> {
        self.acquire();
        if self.end == self.data.len() && !self.make_room(limit) {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let mut room = ReadBuf::new(self.data.get_mut(self.end..).unwrap_or(&mut []));
        let result = Pin::new(io).poll_read(cx, &mut room);
        let read = room.filled().len();
        self.end += read;
        if self.is_empty() {
            self.release();
        }
        ready!(result)?;
        Poll::Ready(Ok(read))
    }

    fn acquire(&mut self) {
        if self.data.is_empty() {
            self.data = READ_BUFFERS
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| vec![0; BUFFER_SIZE]);
            self.start = 0;
            self.end = 0;
        }
    }

    fn make_room(&mut self, limit: usize) -> bool {
        if self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            return true;
        }
        let size = (self.data.len() * 2).min(limit.max(BUFFER_SIZE));
        if size <= self.data.len() {
            return false;
        }
        self.data.resize(size, 0);
        true
    }

    fn release(&mut self) {
        give_back(&READ_BUFFERS, std::mem::take(&mut self.data));
        self.start = 0;
        self.end = 0;
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        self.release();
    }
}

/// Bytes that wait to be sent.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    data: Vec<u8>,
    written: usize,
}

impl WriteBuffer {
    /// Where the next bytes are appended.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.data.capacity() == 0 {
            self.data = WRITE_BUFFERS
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| Vec::with_capacity(BUFFER_SIZE));
        }
        &mut self.data
    }

    pub fn is_empty(&self) -> bool {
        self.written == self.data.len()
    }

    /// Sends everything; bytes sent so far are counted in `sent`.
    pub fn poll_flush<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
        sent: &mut u64,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self
            .data
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            let count = ready!(Pin::new(&mut *io).poll_write(cx, rest))?;
            self.advance(count, sent)?;
        }
        self.release();
        Poll::Ready(Ok(()))
    }

    /// Takes bytes for sending: small ones are kept until the flush, large ones go out directly behind what waits.
    ///
    /// Returns how many of them were taken; pending while the peer does not read.
    pub fn poll_send<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
        bytes: &[u8],
        sent: &mut u64,
    ) -> Poll<io::Result<usize>> {
        if bytes.len() <= COPY_LIMIT {
            if self.data.len() - self.written > HIGH_WATERMARK {
                ready!(self.poll_flush(io, cx, sent))?;
            }
            self.tail().extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        loop {
            let waiting = self.data.get(self.written..).unwrap_or(&[]);
            let count = if waiting.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, bytes))?
            } else if io.is_write_vectored() {
                let parts = [IoSlice::new(waiting), IoSlice::new(bytes)];
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &parts))?
            } else {
                ready!(Pin::new(&mut *io).poll_write(cx, waiting))?
            };
            let own = waiting.len().min(count);
            let of_bytes = count - own;
            self.advance(own, sent).or_else(|error| match of_bytes {
                0 => Err(error),
                _ => Ok(()),
            })?;
            if self.is_empty() {
                self.release();
            }
            if of_bytes > 0 {
                *sent += of_bytes as u64;
                return Poll::Ready(Ok(of_bytes));
            }
        }
    }

    fn advance(&mut self, count: usize, sent: &mut u64) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.written = (self.written + count).min(self.data.len());
        *sent += count as u64;
        Ok(())
    }

    fn release(&mut self) {
        self.data.clear();
        self.written = 0;
        give_back(&WRITE_BUFFERS, std::mem::take(&mut self.data));
    }
}

impl Drop for WriteBuffer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn idle_buffers_hold_no_memory() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        let mut buffer = ReadBuffer::default();
        let pending =
            poll_fn(|cx| Poll::Ready(buffer.poll_fill(&mut near, cx, BUFFER_SIZE).is_pending()));
        assert!(pending.await);
        assert_eq!(buffer.data.capacity(), 0);
        far.write_all(b"abc").await.expect("room");
        let read = poll_fn(|cx| buffer.poll_fill(&mut near, cx, BUFFER_SIZE)).await;
        assert_eq!(read.expect("readable"), 3);
        assert_eq!(buffer.filled(), b"abc");
        buffer.consume(3);
        assert_eq!(buffer.data.capacity(), 0);
    }

    #[tokio::test]
    async fn growth_stops_at_the_limit() {
        let (mut near, mut far) = tokio::io::duplex(256 * 1024);
        far.write_all(&vec![b'x'; 100_000]).await.expect("room");
        let mut buffer = ReadBuffer::default();
        let error = loop {
            match poll_fn(|cx| buffer.poll_fill(&mut near, cx, 40_000)).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(buffer.len(), 40_000);
    }

    #[tokio::test]
    async fn large_pieces_follow_what_waits() {
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        let mut buffer = WriteBuffer::default();
        let mut sent = 0;
        let body = vec![b'y'; COPY_LIMIT + 1];
        buffer.tail().extend_from_slice(b"head ");
        let taken = poll_fn(|cx| buffer.poll_send(&mut near, cx, &body, &mut sent)).await;
        assert_eq!(taken.expect("room"), body.len());
        assert_eq!(sent, 5 + body.len() as u64);
        let mut received = vec![0; 5 + body.len()];
        far.read_exact(&mut received).await.expect("all sent");
        assert!(received.starts_with(b"head y"));
        assert!(buffer.is_empty());
    }
}
