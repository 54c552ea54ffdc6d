//! Buffers for bytes on their way. They belong to the worker and are held only while something is in them, so that a
//! connection that waits holds none.

use std::cell::RefCell;

/// Length of a buffer: four TLS records, as many as rustls encrypts before it waits for the transport.
pub const BUFFER_SIZE: usize = 64 * 1024;
/// Buffers that a worker keeps for reuse.
const KEPT_BUFFERS: usize = 8;

thread_local! {
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer with whatever was in it before.
pub fn take_buffer() -> Box<[u8]> {
    let kept = BUFFERS.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| vec![0; BUFFER_SIZE].into_boxed_slice())
}

/// Gives a buffer back; one of another length is freed.
pub fn give_buffer(buffer: Box<[u8]>) {
    BUFFERS.with_borrow_mut(|kept| {
        if kept.len() < KEPT_BUFFERS && buffer.len() == BUFFER_SIZE {
            kept.push(buffer);
        }
    });
}
