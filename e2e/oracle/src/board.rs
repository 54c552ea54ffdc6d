//! What clients and servers of a run share: how to answer which call, and what servers saw of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::call::Answers;
use crate::server::answer::Answer;

/// Header that carries the number of a call.
pub const ID: &str = "x-call";

/// The shared state.
#[derive(Debug, Default)]
pub struct Board(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    plans: HashMap<String, Answers>,
    seen: HashMap<String, Vec<Seen>>,
}

/// A request, or a connection without HTTP, as a server saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub server: String,
    /// First line and headers as they came, body and trailers.
    pub lines: Vec<String>,
}

/// Where a server adds to what it saw.
#[derive(Clone, Debug)]
pub struct Entry {
    id: String,
    index: usize,
}

impl Board {
    pub fn plan(&self, id: &str, answers: Answers) {
        self.lock().plans.insert(id.to_owned(), answers);
    }

    /// Notes an attempt and tells how to answer it.
    pub fn arrive(&self, id: &str, server: &str, lines: Vec<String>) -> (Entry, Answer) {
        let mut state = self.lock();
        let seen = state.seen.entry(id.to_owned()).or_default();
        let index = seen.len();
        seen.push(Seen {
            server: server.to_owned(),
            lines,
        });
        let own = state
            .plans
            .get(id)
            .is_some_and(|plan| plan.0.contains_key(server));
        let attempts = state.seen.get(id).into_iter().flatten();
        let attempt = match own {
            true => attempts.filter(|seen| seen.server == server).count(),
            false => attempts.count(),
        };
        let answers = state.plans.get(id).and_then(|plan| {
            let own = plan.0.get(server);
            own.or_else(|| plan.0.get(""))
        });
        let answer = answers.and_then(|all| all.get(attempt - 1).or(all.last()));
        let entry = Entry {
            id: id.to_owned(),
            index,
        };
        (entry, answer.cloned().unwrap_or_default())
    }

    pub fn add(&self, entry: &Entry, line: String) {
        let mut state = self.lock();
        let seen = state.seen.get_mut(&entry.id);
        if let Some(seen) = seen.and_then(|seen| seen.get_mut(entry.index)) {
            seen.lines.push(line);
        }
    }

    /// How many attempts of a call servers saw by now.
    pub fn attempts(&self, id: &str) -> usize {
        self.lock().seen.get(id).map_or(0, Vec::len)
    }

    /// What servers saw of a call.
    pub fn take(&self, id: &str) -> Vec<Seen> {
        self.lock().seen.remove(id).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Text of bytes: what is not printable ASCII is escaped; long texts are shortened to their length.
pub fn printable(bytes: &[u8]) -> String {
    const LONG: usize = 300;
    if bytes.len() > LONG {
        return format!("<{} bytes>", bytes.len());
    }
    let plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let show = |byte: &u8| match byte {
        byte if plain(byte) => char::from(*byte).to_string(),
        byte => byte.escape_ascii().to_string(),
    };
    bytes.iter().map(show).collect()
}
