//! Where log lines go: files, standard output, standard error.
//!
//! Lines are collected per worker and written by a thread of their own, each second or when much has come together,
//! so that a slow disk never holds a request. When the thread cannot keep up, lines are dropped and counted.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Bytes in a worker's buffer that wake the writer.
const FLUSH_BYTES: usize = 64 * 1024;
/// Bytes in a worker's buffer beyond which lines are dropped.
const MAX_BYTES: usize = 4 * 1024 * 1024;
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Buffers of a sink; workers beyond share them.
const SLOTS: usize = 16;

/// An open log.
#[derive(Debug)]
pub struct Sink {
    path: PathBuf,
    slots: [Mutex<Vec<u8>>; SLOTS],
    file: Mutex<Option<File>>,
    dropped: AtomicU64,
    writer: Arc<Writer>,
}

#[derive(Debug, Default)]
struct Writer {
    wake: Condvar,
    state: Mutex<WriterState>,
}

#[derive(Debug, Default)]
struct WriterState {
    sinks: HashMap<PathBuf, Weak<Sink>>,
    running: bool,
    urgent: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding one of these locks leaves at worst half a line.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of this thread among those that log.
fn slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SLOT: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS;
    }
    SLOT.with(|slot| *slot)
}

fn writer() -> &'static Arc<Writer> {
    static WRITER: std::sync::OnceLock<Arc<Writer>> = std::sync::OnceLock::new();
    WRITER.get_or_init(Arc::default)
}

impl Sink {
    /// The sink of a path; one per path in the process. `/dev/stdout` and `/dev/stderr` are the program's own.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(path: &Path) -> io::Result<Arc<Sink>> {
        let writer = writer();
        let mut state = lock(&writer.state);
        if let Some(sink) = state.sinks.get(path).and_then(Weak::upgrade) {
            return Ok(sink);
        }
        let file = match path.to_str() {
            Some("/dev/stdout" | "/dev/stderr") => None,
            _ => Some(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let sink = Arc::new(Sink {
            path: path.to_owned(),
            slots: Default::default(),
            file: Mutex::new(file),
            dropped: AtomicU64::new(0),
            writer: Arc::clone(writer),
        });
        state.sinks.insert(path.to_owned(), Arc::downgrade(&sink));
        if !state.running {
            let writer = Arc::clone(writer);
            std::thread::Builder::new()
                .name("access-log".to_owned())
                .spawn(move || run(&writer))?;
            state.running = true;
        }
        Ok(sink)
    }

    /// Adds what `write` appends: one or more whole lines.
    pub fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let slot = self.slots.get(slot()).or(self.slots.first());
        let Some(slot) = slot else {
            return;
        };
        let mut buffer = lock(slot);
        if buffer.len() > MAX_BYTES {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = buffer.len();
        write(&mut buffer);
        if before < FLUSH_BYTES && buffer.len() >= FLUSH_BYTES {
            drop(buffer);
            lock(&self.writer.state).urgent = true;
            self.writer.wake.notify_one();
        }
    }

    /// Lines that were dropped because the disk was too slow.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes what has come together.
    ///
    /// # Errors
    /// Those of the file; the lines are lost.
    pub fn flush(&self) -> io::Result<()> {
        let mut file = lock(&self.file);
        for slot in &self.slots {
            let lines = std::mem::take(&mut *lock(slot));
            if lines.is_empty() {
                continue;
            }
            match (&mut *file, self.path.to_str()) {
                (Some(file), _) => file.write_all(&lines)?,
                (None, Some("/dev/stderr")) => io::stderr().lock().write_all(&lines)?,
                (None, _) => {
                    let mut out = io::stdout().lock();
                    out.write_all(&lines)?;
                    out.flush()?;
                }
            }
        }
        Ok(())
    }
}

/// Writes all sinks now: before the program ends.
pub fn flush_all() {
    let sinks: Vec<_> = lock(&writer().state)
        .sinks
        .values()
        .filter_map(Weak::upgrade)
        .collect();
    for sink in sinks {
        report(&sink, sink.flush());
    }
}

fn report(sink: &Sink, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(path = %sink.path.display(), %error, "Access log lines were lost");
    }
}

fn run(writer: &Writer) {
    loop {
        let state = lock(&writer.state);
        let woken = writer
            .wake
            .wait_timeout_while(state, FLUSH_INTERVAL, |state| !state.urgent);
        let (mut state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        state.urgent = false;
        state.sinks.retain(|_, sink| sink.strong_count() > 0);
        let sinks: Vec<_> = state.sinks.values().filter_map(Weak::upgrade).collect();
        drop(state);
        for sink in sinks {
            report(&sink, sink.flush());
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        report(self, self.flush());
    }
}
