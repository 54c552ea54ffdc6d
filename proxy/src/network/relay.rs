//! Copies bytes between two connections in both directions until both have ended.
//!
//! A buffer is held only while bytes are on their way, so that an idle connection holds none.
//! A side that ends its sending is passed on as such; the other direction goes on.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::conn::Io;
use crate::conn::buffer::{BUFFER_SIZE, give_buffer, take_buffer};
use crate::network::metadata_exchange::{self, Decoded};
use crate::peer::PeerMetadata;

/// Which connection something came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Downstream,
    Upstream,
}

/// What a relay reports.
#[derive(Debug)]
pub enum Event {
    /// Metadata exchange with this side is over.
    Peer(Side, Option<Box<PeerMetadata>>),
    /// Both directions ended.
    Ended,
    /// A connection broke.
    Failed(Side, io::Error),
}

/// Two connections and what is on its way between them.
pub struct Relay<'a> {
    downstream: Io,
    upstream: Io,
    forward: Direction<'a>,
    backward: Direction<'a>,
}

/// What a relay has done so far.
#[derive(Debug)]
pub struct Activity {
    received: Rc<Cell<u64>>,
    sent: Rc<Cell<u64>>,
    last: Cell<Instant>,
}

impl Activity {
    /// `received` counts payload of the downstream, `sent` that of the upstream.
    pub fn new(received: Rc<Cell<u64>>, sent: Rc<Cell<u64>>) -> Self {
        Self {
            received,
            sent,
            last: Cell::new(Instant::now()),
        }
    }

    /// When payload was last passed on.
    pub fn last(&self) -> Instant {
        self.last.get()
    }

    /// Payload in both directions.
    pub fn total(&self) -> u64 {
        self.received.get().wrapping_add(self.sent.get())
    }
}

/// How to begin: frames of metadata exchange.
#[derive(Debug, Default)]
pub struct Preamble {
    /// Sent to this side first.
    pub send: Option<Vec<u8>>,
    /// A frame is expected from this side.
    pub expect: bool,
}

impl<'a> Relay<'a> {
    /// Payload is counted in `activity`.
    pub fn new(
        (downstream, downstream_preamble): (Io, Preamble),
        (upstream, upstream_preamble): (Io, Preamble),
        activity: &'a Activity,
    ) -> Self {
        let mut relay = Self {
            downstream,
            upstream,
            forward: Direction::new(
                downstream_preamble.expect,
                upstream_preamble.send,
                activity,
                &activity.received,
            ),
            backward: Direction::new(
                upstream_preamble.expect,
                downstream_preamble.send,
                activity,
                &activity.sent,
            ),
        };
        // A client that waits to see whether its server speaks first must not take a frame for an answer.
        relay.backward.hold = true;
        relay
    }

    /// The next event; after [`Event::Ended`] and [`Event::Failed`] there is none. Cancel safe.
    pub async fn next(&mut self) -> Event {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Closes both connections with a reset.
    pub fn reset(self) {
        self.downstream.reset();
        self.upstream.reset();
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let forward = self
            .forward
            .poll(cx, &mut self.downstream, &mut self.upstream);
        if let Some(event) = event(forward, Side::Downstream, Side::Upstream) {
            return Poll::Ready(event);
        }
        if self.forward.heard || self.forward.state != State::Open {
            self.backward.hold = false;
        }
        let backward = self
            .backward
            .poll(cx, &mut self.upstream, &mut self.downstream);
        if let Some(event) = event(backward, Side::Upstream, Side::Downstream) {
            return Poll::Ready(event);
        }
        if self.forward.is_done() && self.backward.is_done() {
            return Poll::Ready(Event::Ended);
        }
        Poll::Pending
    }
}

fn event(poll: Poll<Step>, from: Side, to: Side) -> Option<Event> {
    match poll {
        Poll::Pending | Poll::Ready(Step::Done) => None,
        Poll::Ready(Step::Peer(peer)) => Some(Event::Peer(from, peer)),
        Poll::Ready(Step::ReadFailed(error)) => Some(Event::Failed(from, error)),
        Poll::Ready(Step::WriteFailed(error)) => Some(Event::Failed(to, error)),
    }
}

enum Step {
    Done,
    Peer(Option<Box<PeerMetadata>>),
    ReadFailed(io::Error),
    WriteFailed(io::Error),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The sender ended; buffered bytes and the end are still to be passed on.
    Ending,
    Done,
}

/// One direction of a relay.
struct Direction<'a> {
    state: State,
    /// Our own frame, sent before payload.
    preamble: Vec<u8>,
    /// Keep our frame back until there is payload, or the other side spoke.
    hold: bool,
    /// Something was read.
    heard: bool,
    /// Start of the stream while a frame is expected in it.
    frame: Option<Vec<u8>>,
    buffer: Option<Box<[u8]>>,
    /// Payload in the buffer.
    start: usize,
    end: usize,
    unflushed: bool,
    /// Met behind bytes that are to be passed on first.
    failure: Option<io::Error>,
    activity: &'a Activity,
    count: &'a Cell<u64>,
}

impl<'a> Direction<'a> {
    fn new(
        expect: bool,
        preamble: Option<Vec<u8>>,
        activity: &'a Activity,
        count: &'a Cell<u64>,
    ) -> Self {
        Self {
            state: State::Open,
            preamble: preamble.unwrap_or_default(),
            hold: false,
            heard: false,
            frame: expect.then(Vec::new),
            buffer: None,
            start: 0,
            end: 0,
            unflushed: false,
            failure: None,
            activity,
            count,
        }
    }

    fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Io, to: &mut Io) -> Poll<Step> {
        loop {
            if let Err(error) = ready!(self.poll_drain(cx, to)) {
                return Poll::Ready(Step::WriteFailed(error));
            }
            match self.state {
                State::Done => return Poll::Ready(Step::Done),
                State::Ending => match ready!(self.poll_end(cx, to)) {
                    Ok(()) => self.state = State::Done,
                    Err(error) => return Poll::Ready(Step::WriteFailed(error)),
                },
                State::Open => match self.poll_fill(cx, from) {
                    Poll::Ready(Ok(0)) => {
                        self.release();
                        self.state = State::Ending;
                        if self.frame.is_some() {
                            return Poll::Ready(self.no_frame());
                        }
                    }
                    Poll::Ready(Ok(_)) => {
                        if let Some(step) = self.look_for_frame() {
                            return Poll::Ready(step);
                        }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Step::ReadFailed(error)),
                    Poll::Pending => {
                        self.release();
                        if let Err(error) = ready!(self.poll_flush(cx, to)) {
                            return Poll::Ready(Step::WriteFailed(error));
                        }
                        return Poll::Pending;
                    }
                },
            }
        }
    }

    /// Reads into the buffer, which is empty. Zero is the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>, from: &mut Io) -> Poll<io::Result<usize>> {
        if let Some(error) = self.failure.take() {
            return Poll::Ready(ended(error));
        }
        if let Err(error) = ready!(from.poll_readable(cx)) {
            return Poll::Ready(ended(error));
        }
        if self
            .buffer
            .as_ref()
            .is_some_and(|buffer| buffer.len() != BUFFER_SIZE)
        {
            // What a frame left was of its own size.
            self.release();
        }
        let buffer = self.buffer.get_or_insert_with(take_buffer);
        let mut read = ReadBuf::new(buffer);
        match ready!(poll_read_all(cx, from, &mut read)) {
            Err(error) if read.filled().is_empty() => return Poll::Ready(ended(error)),
            result => self.failure = result.err(),
        }
        self.start = 0;
        self.end = read.filled().len();
        self.heard = true;
        Poll::Ready(Ok(self.end))
    }

    /// Takes the frame from the start of the stream, once it is complete.
    fn look_for_frame(&mut self) -> Option<Step> {
        let mut frame = self.frame.take()?;
        let buffer = self.buffer.as_deref().unwrap_or_default();
        frame.extend_from_slice(buffer.get(self.start..self.end).unwrap_or_default());
        let (peer, consumed) = match metadata_exchange::decode(&frame) {
            Decoded::NeedMore => {
                self.start = self.end;
                self.frame = Some(frame);
                return None;
            }
            Decoded::NoPeer { consumed } => (None, consumed),
            Decoded::Peer { peer, consumed } => (Some(peer), consumed),
        };
        let payload = frame.split_off(consumed);
        self.replace_payload(payload);
        Some(Step::Peer(peer))
    }

    /// The stream ended where a frame was expected: what came is payload.
    fn no_frame(&mut self) -> Step {
        let payload = self.frame.take().unwrap_or_default();
        self.replace_payload(payload);
        Step::Peer(None)
    }

    fn replace_payload(&mut self, payload: Vec<u8>) {
        self.release();
        self.end = payload.len();
        self.buffer = Some(payload.into_boxed_slice());
    }

    /// Writes all that is buffered.
    fn poll_drain(&mut self, cx: &mut Context<'_>, to: &mut Io) -> Poll<io::Result<()>> {
        self.hold &= self.start == self.end && self.state == State::Open;
        while !self.preamble.is_empty() && !self.hold {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.preamble))?;
            self.preamble.drain(..written.min(self.preamble.len()));
            self.unflushed = true;
            if self.preamble.is_empty() {
                self.preamble = Vec::new();
            }
        }
        while let Some(bytes) = self
            .buffer
            .as_deref()
            .and_then(|b| b.get(self.start..self.end))
        {
            if bytes.is_empty() {
                break;
            }
            let written = ready!(Pin::new(&mut *to).poll_write(cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start = self.start.saturating_add(written);
            self.unflushed = true;
            let written = u64::try_from(written).unwrap_or(u64::MAX);
            self.count.set(self.count.get().wrapping_add(written));
            self.activity.last.set(Instant::now());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut Io) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>, to: &mut Io) -> Poll<io::Result<()>> {
        self.release();
        match ready!(Pin::new(to).poll_shutdown(cx)) {
            // The other side closed meanwhile: nothing is left to be told.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }

    /// Gives the buffer back; it holds nothing any more.
    fn release(&mut self) {
        self.start = 0;
        self.end = 0;
        if let Some(buffer) = self.buffer.take() {
            give_buffer(buffer);
        }
    }
}

impl Drop for Direction<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Reads what there is: TLS gives one record at a time, and a write for each would cost more than its bytes.
fn poll_read_all(
    cx: &mut Context<'_>,
    from: &mut Io,
    read: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    loop {
        let before = read.filled().len();
        match Pin::new(&mut *from).poll_read(cx, read) {
            Poll::Pending if before == 0 => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            _ => {}
        }
        let came = read.filled().len() > before;
        if !came || !from.is_tls() || read.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
    }
}

/// A peer that closes TLS without saying so has ended its stream, as in Envoy.
fn ended(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Ok(0),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    fn pair() -> (DuplexStream, Io) {
        let (far, near) = tokio::io::duplex(1024);
        (far, Io::memory(near))
    }

    #[tokio::test]
    async fn both_directions_and_half_close() {
        let (mut client, downstream) = pair();
        let (mut server, upstream) = pair();
        let activity = Activity::new(Rc::default(), Rc::default());
        let mut relay = Relay::new(
            (downstream, Preamble::default()),
            (upstream, Preamble::default()),
            &activity,
        );
        let talk = async {
            client.write_all(b"question").await.expect("open");
            client.shutdown().await.expect("open");
            let mut question = String::new();
            server.read_to_string(&mut question).await.expect("ended");
            server.write_all(b"an answer").await.expect("still open");
            drop(server);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("ended");
            (question, answer)
        };
        let (event, texts) = tokio::join!(relay.next(), talk);
        assert!(matches!(event, Event::Ended), "{event:?}");
        assert_eq!(texts, ("question".to_owned(), "an answer".to_owned()));
        assert_eq!((activity.received.get(), activity.sent.get()), (8, 9));
    }

    #[tokio::test]
    async fn frames_are_exchanged_before_payload() {
        let node = crate::worker::LocalNode::default();
        let frame = metadata_exchange::encode(&node);
        let (mut client, downstream) = pair();
        let (mut server, upstream) = pair();
        let activity = Activity::new(Rc::default(), Rc::default());
        let preamble = Preamble {
            send: Some(frame.clone()),
            expect: true,
        };
        let mut relay = Relay::new(
            (downstream, preamble),
            (upstream, Preamble::default()),
            &activity,
        );
        let talk = async {
            client.write_all(&frame).await.expect("open");
            let mut ours = vec![0; frame.len()];
            let read = client.read_exact(&mut ours);
            read.await.expect("our frame answers");
            assert_eq!(ours, frame);
            client.write_all(b"payload").await.expect("open");
            client.shutdown().await.expect("open");
            let mut payload = String::new();
            server.read_to_string(&mut payload).await.expect("ended");
            assert_eq!(payload, "payload");
            drop(server);
        };
        let events = async {
            let first = relay.next().await;
            assert!(
                matches!(first, Event::Peer(Side::Downstream, Some(_))),
                "{first:?}"
            );
            assert!(matches!(relay.next().await, Event::Ended));
        };
        tokio::join!(events, talk);
        assert_eq!(activity.received.get(), 7, "frames are no payload");
    }
}
