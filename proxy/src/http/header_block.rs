//! The header fields of one message: ordered, duplicates kept, one allocation for all texts.

use super::header_name::{Known, UNKNOWN};

/// A piece of a block's arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    pub(super) fn new(start: usize, len: usize) -> Self {
        // Heads are limited to far less than 4 GiB; a longer text cannot get here and would become empty.
        match (u32::try_from(start), u32::try_from(len)) {
            (Ok(start), Ok(len)) => Self { start, len },
            _ => Self::default(),
        }
    }

    pub(super) fn of(self, arena: &[u8]) -> &[u8] {
        let start = self.start as usize;
        arena.get(start..start + self.len as usize).unwrap_or(&[])
    }

    pub(super) fn of_mut(self, arena: &mut [u8]) -> &mut [u8] {
        let start = self.start as usize;
        arena
            .get_mut(start..start + self.len as usize)
            .unwrap_or(&mut [])
    }

    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Number of a [`Known`] name, or [`UNKNOWN`].
    slot: u8,
    /// Empty for known names whose text is the usual lower-case one.
    name: Span,
    value: Span,
}

/// Header fields in wire order.
///
/// Names compare without regard to case and are kept as they were given. Removing a field leaves its text in the
/// arena: blocks live for one message. Values are bytes without CR, LF and NUL.
#[derive(Clone, Debug, Default)]
pub struct HeaderBlock {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// Bits of the known names that are present.
    present: u64,
}

impl HeaderBlock {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
        self.present = 0;
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all names and values.
    pub fn byte_size(&self) -> usize {
        self.iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }

    /// Bytes of memory held, for deciding whether to keep a block for the next message.
    pub(super) fn memory(&self) -> usize {
        self.arena.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries
            .iter()
            .map(|entry| (self.name_of(entry), entry.value.of(&self.arena)))
    }

    pub fn contains(&self, name: Known) -> bool {
        self.present & name.bit() != 0
    }

    /// The first value of `name`.
    pub fn get(&self, name: Known) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The first value of `name` as text; `None` also when it is not UTF-8.
    pub fn get_str(&self, name: Known) -> Option<&str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    pub fn get_all(&self, name: Known) -> impl Iterator<Item = &[u8]> {
        let entries: &[Entry] = if self.contains(name) {
            &self.entries
        } else {
            &[]
        };
        entries
            .iter()
            .filter(move |entry| entry.slot == name as u8)
            .map(|entry| entry.value.of(&self.arena))
    }

    /// All values of a name given as text, in any case.
    pub fn get_all_named<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let known = Known::find(name);
        let absent = known.is_some_and(|known| !self.contains(known));
        let entries: &[Entry] = if absent { &[] } else { &self.entries };
        entries
            .iter()
            .filter(move |entry| match known {
                Some(known) => entry.slot == known as u8,
                None => {
                    entry.slot == UNKNOWN && entry.name.of(&self.arena).eq_ignore_ascii_case(name)
                }
            })
            .map(|entry| entry.value.of(&self.arena))
    }

    /// The first value of a name given as text, in any case.
    pub fn get_named<'a>(&'a self, name: &'a [u8]) -> Option<&'a [u8]> {
        self.get_all_named(name).next()
    }

    /// Values of a name joined by commas; borrowed when there is one.
    pub fn joined<'a>(&'a self, name: &'a [u8]) -> Option<std::borrow::Cow<'a, [u8]>> {
        let mut values = self.get_all_named(name);
        let first = values.next()?;
        let Some(second) = values.next() else {
            return Some(first.into());
        };
        let mut all = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            all.push(b',');
            all.extend_from_slice(value);
        }
        Some(all.into())
    }

    pub fn append(&mut self, name: Known, value: &[u8]) {
        let value = self.store(value);
        self.push(name as u8, Span::default(), value);
    }

    /// Appends a field whose name is given as text; its case is kept unless the name is a known one in lower case.
    pub fn append_named(&mut self, name: &[u8], value: &[u8]) {
        let (slot, name) = self.store_name(name);
        let value = self.store(value);
        self.push(slot, name, value);
    }

    /// Leaves exactly one field of this name, at the place of the first one.
    pub fn set(&mut self, name: Known, value: &[u8]) {
        if !self.contains(name) {
            return self.append(name, value);
        }
        let value = self.store(value);
        self.replace(value, |entry, _| entry.slot == name as u8);
    }

    /// As [`HeaderBlock::set`], for a name given as text.
    /// Adds a value to a list that is one header: `a`, then `a, b`.
    pub fn append_to_list(&mut self, name: Known, value: &[u8]) {
        self.append_joined(name, b", ", value);
    }

    /// Joins a value to those that are there, in one header.
    pub fn append_joined(&mut self, name: Known, separator: &[u8], value: &[u8]) {
        let all = match self.joined(name.as_str().as_bytes()) {
            Some(list) if !list.is_empty() => [&list, separator, value].concat(),
            _ => value.to_vec(),
        };
        self.set(name, &all);
    }

    pub fn set_named(&mut self, name: &[u8], value: &[u8]) {
        match Known::find(name) {
            Some(known) => self.set(known, value),
            None if self.get_named(name).is_none() => self.append_named(name, value),
            None => {
                let value = self.store(value);
                self.replace(value, |entry, arena| {
                    entry.slot == UNKNOWN && entry.name.of(arena).eq_ignore_ascii_case(name)
                });
            }
        }
    }

    /// Removes all fields of this name; whether there were any.
    pub fn remove(&mut self, name: Known) -> bool {
        if !self.contains(name) {
            return false;
        }
        self.entries.retain(|entry| entry.slot != name as u8);
        self.present &= !name.bit();
        true
    }

    pub fn remove_named(&mut self, name: &[u8]) -> bool {
        if let Some(known) = Known::find(name) {
            return self.remove(known);
        }
        let before = self.entries.len();
        let arena = &self.arena;
        self.entries.retain(|entry| {
            entry.slot != UNKNOWN || !entry.name.of(arena).eq_ignore_ascii_case(name)
        });
        self.entries.len() != before
    }

    /// Removes the fields for whose name `drop` says so.
    pub fn remove_where(&mut self, drop: impl Fn(&[u8]) -> bool) {
        let arena = &self.arena;
        self.entries.retain(|entry| !drop(entry_name(entry, arena)));
        self.present = self
            .entries
            .iter()
            .filter_map(|entry| Known::from_slot(entry.slot))
            .fold(0, |mask, known| mask | known.bit());
    }

    /// Where the name of the first such field stands; empty for the usual lower-case one.
    pub(super) fn name_span_of(&self, name: Known) -> Span {
        let mut entries = self.entries.iter();
        let found = entries.find(|entry| entry.slot == name as u8);
        found.map_or_else(Span::default, |entry| entry.name)
    }

    /// Writes `name: value CRLF` for every field.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        for entry in &self.entries {
            out.extend_from_slice(self.name_of(entry));
            out.extend_from_slice(b": ");
            out.extend_from_slice(entry.value.of(&self.arena));
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Copies a text into the arena.
    pub(super) fn store(&mut self, text: &[u8]) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_slice(text);
        Span::new(start, text.len())
    }

    pub(super) fn text(&self, span: Span) -> &[u8] {
        span.of(&self.arena)
    }

    /// Where the first value of a name lies, and how many there are.
    pub(super) fn span_of(&self, name: Known) -> (Option<Span>, usize) {
        let mut found = self.entries.iter().filter(|entry| entry.slot == name as u8);
        let first = found.next().map(|entry| entry.value);
        (first, usize::from(first.is_some()) + found.count())
    }

    /// Adds a field whose texts already lie in the arena.
    pub(super) fn push_stored(
        &mut self,
        name: Span,
        value: Span,
        keep_case: bool,
    ) -> Option<Known> {
        let text = name.of_mut(&mut self.arena);
        match Known::find(text) {
            Some(known) => {
                let lower = !keep_case || text == known.as_str().as_bytes();
                let name = if lower { Span::default() } else { name };
                self.push(known as u8, name, value);
                Some(known)
            }
            None => {
                if !keep_case {
                    text.make_ascii_lowercase();
                }
                self.push(UNKNOWN, name, value);
                None
            }
        }
    }

    fn store_name(&mut self, name: &[u8]) -> (u8, Span) {
        match Known::find(name) {
            Some(known) if known.as_str().as_bytes() == name => (known as u8, Span::default()),
            Some(known) => (known as u8, self.store(name)),
            None => (UNKNOWN, self.store(name)),
        }
    }

    fn push(&mut self, slot: u8, name: Span, value: Span) {
        if let Some(known) = Known::from_slot(slot) {
            self.present |= known.bit();
        }
        self.entries.push(Entry { slot, name, value });
    }

    fn replace(&mut self, value: Span, is_it: impl Fn(&Entry, &[u8]) -> bool) {
        let arena = &self.arena;
        let mut done = false;
        self.entries.retain_mut(|entry| {
            if !is_it(entry, arena) {
                return true;
            }
            entry.value = value;
            !std::mem::replace(&mut done, true)
        });
    }

    fn name_of(&self, entry: &Entry) -> &[u8] {
        entry_name(entry, &self.arena)
    }
}

fn entry_name<'a>(entry: &Entry, arena: &'a [u8]) -> &'a [u8] {
    if entry.name.is_empty() {
        Known::from_slot(entry.slot).map_or(&[], |known| known.as_str().as_bytes())
    } else {
        entry.name.of(arena)
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for HeaderBlock {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(fields: I) -> Self {
        let mut block = Self::new();
        for (name, value) in fields {
            block.append_named(name.as_bytes(), value.as_bytes());
        }
        block
    }
}

/// Whether a comma-separated list header contains a token, in any case.
pub fn has_token(value: &[u8], token: &str) -> bool {
    tokens(value).any(|part| part.eq_ignore_ascii_case(token.as_bytes()))
}

/// Elements of a comma-separated list, without surrounding blanks; empty ones are left out.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(block: &HeaderBlock) -> String {
        let mut out = Vec::new();
        block.write_to(&mut out);
        String::from_utf8(out).expect("test texts are UTF-8")
    }

    #[test]
    fn order_duplicates_and_case_are_kept() {
        let block: HeaderBlock = [("X-B", "1"), ("accept", "a"), ("x-b", "2"), ("Host", "h")]
            .into_iter()
            .collect();
        assert_eq!(text(&block), "X-B: 1\r\naccept: a\r\nx-b: 2\r\nHost: h\r\n");
        assert_eq!(block.get_all_named(b"x-B").count(), 2);
        assert_eq!(block.get(Known::Host), Some(&b"h"[..]));
        assert_eq!(block.joined(b"x-b").as_deref(), Some(&b"1,2"[..]));
    }

    #[test]
    fn set_replaces_in_place() {
        let mut block: HeaderBlock = [("a", "1"), ("b", "2"), ("a", "3")].into_iter().collect();
        block.set_named(b"A", b"9");
        assert_eq!(text(&block), "a: 9\r\nb: 2\r\n");
        block.set(Known::Date, b"now");
        block.set(Known::Date, b"later");
        assert_eq!(text(&block), "a: 9\r\nb: 2\r\ndate: later\r\n");
    }

    #[test]
    fn removal_forgets_presence() {
        let mut block: HeaderBlock = [("te", "x"), ("x", "1"), ("via", "v")]
            .into_iter()
            .collect();
        assert!(block.remove(Known::Te));
        assert!(!block.remove(Known::Te));
        assert!(block.remove_named(b"X"));
        assert!(!block.contains(Known::Te));
        block.remove_where(|name| name == b"via");
        assert!(block.is_empty() && block.get(Known::Via).is_none());
    }

    #[test]
    fn tokens_are_trimmed() {
        assert!(has_token(b"keep-alive, Upgrade", "upgrade"));
        assert!(!has_token(b"upgraded", "upgrade"));
    }
}
