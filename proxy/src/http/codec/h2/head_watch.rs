//! Sees heads that arrive slowly.
//!
//! The h2 crate tells of a request once its head is complete, and until then nothing else can arrive on the connection
//! (RFC 9113, section 4.3). So bytes are looked at on their way to it, only as far as to know which frame they belong to.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::io::InspectReader;

use crate::http::codec::PREFACE;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const FRAME_HEADER: usize = 9;

/// What is known of the head that is on its way.
#[derive(Debug, Default)]
pub struct Heads {
    since: Cell<Option<Instant>>,
    begun: Notify,
}

impl Heads {
    /// Completes when a head is on its way for longer than `limit`.
    pub async fn late(&self, limit: Duration) {
        loop {
            let Some(since) = self.since.get() else {
                self.begun.notified().await;
                continue;
            };
            tokio::time::sleep_until(since + limit).await;
            if self.since.get() == Some(since) {
                return;
            }
        }
    }

    fn set(&self, under_way: bool) {
        match (under_way, self.since.get()) {
            (true, None) => {
                self.since.set(Some(Instant::now()));
                self.begun.notify_one();
            }
            (false, Some(_)) => self.since.set(None),
            _ => {}
        }
    }
}

/// Watches the heads that come from a client, whose bytes begin with the preface.
pub fn watch_heads<T: AsyncRead>(inner: T) -> (InspectReader<T, impl FnMut(&[u8])>, Rc<Heads>) {
    let heads = Rc::<Heads>::default();
    let told = Rc::clone(&heads);
    let mut frames = Frames::default();
    let watched = InspectReader::new(inner, move |bytes: &[u8]| told.set(frames.pass(bytes)));
    (watched, heads)
}

/// Where in the sequence of frames the next byte is.
#[derive(Debug)]
struct Frames {
    header: [u8; FRAME_HEADER],
    /// Bytes of `header` that are there.
    filled: usize,
    /// Bytes until the next frame.
    left: usize,
    in_head: bool,
    /// The frame is the last one of its head.
    ends_head: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            header: [0; FRAME_HEADER],
            filled: 0,
            left: PREFACE.len(),
            in_head: false,
            ends_head: false,
        }
    }
}

impl Frames {
    /// Whether a head is under way behind these bytes.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let count = match self.left {
                0 => self.fill(bytes),
                left => left.min(bytes.len()),
            };
            if self.left > 0 && self.filled == 0 {
                self.left -= count;
                self.end_frame();
            }
            bytes = bytes.get(count..).unwrap_or_default();
            if self.filled == FRAME_HEADER {
                self.begin_frame();
            }
        }
        self.in_head
    }

    /// Takes bytes for the frame's header; how many.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let room = self.header.get_mut(self.filled..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.filled += count;
        count
    }

    fn begin_frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.filled = 0;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if matches!(kind, HEADERS | CONTINUATION) {
            self.in_head = true;
            self.ends_head = flags & END_HEADERS != 0;
        }
        self.end_frame();
    }

    fn end_frame(&mut self) {
        if self.left == 0 && self.ends_head {
            self.in_head = false;
            self.ends_head = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::frames::{DATA, END_STREAM, frame, head, preface};

    /// Whether a head is under way after all of `parts`, however they are cut.
    #[track_caller]
    fn check(parts: &[&[u8]], under_way: bool) {
        let bytes = [&preface(), &parts.concat()[..]].concat();
        for size in [1, 2, 7, bytes.len()] {
            let mut frames = Frames::default();
            let seen = bytes.chunks(size).map(|part| frames.pass(part)).last();
            assert_eq!(seen, Some(under_way), "in pieces of {size}");
        }
    }

    #[test]
    fn a_head_lasts_from_its_first_frame_to_the_end_of_its_last() {
        let whole = head(1, END_STREAM, &[(":method", "GET")]);
        let begun = frame(HEADERS, 0, 3, b"abc");
        check(&[], false);
        check(&[&whole], false);
        check(&[&whole[..whole.len() - 1]], true);
        check(&[&whole[..8]], false);
        check(&[&whole[..9]], true);
        check(&[&begun], true);
        check(&[&begun, &frame(CONTINUATION, 0, 3, b"")], true);
        let ended = frame(CONTINUATION, END_HEADERS, 3, b"");
        check(&[&begun, &ended], false);
        check(&[&begun, &ended, &begun], true);
        check(&[&whole, &frame(DATA, 0, 1, &[HEADERS; 40])], false);
    }
}
