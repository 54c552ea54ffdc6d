//! Paths of overlays: `spec.template.spec.containers.[name:discovery].args.[-1]`.
//!
//! Segments are separated by dots, a backslash keeps the next character as it is. `node[x]` is
//! `node.[x]`. A dot inside of brackets does not separate.

use std::fmt;

use regex::Regex;

/// A parsed path; it has at least one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(pub Vec<Segment>);

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Key of an object.
    Key(String),
    /// Index in a list, `[N]`; `[-1]` or an index past the end appends.
    Index(i64),
    /// First item whose key has a value, `[key:value]`; in a list of texts the first that the whole finds.
    Item { key: String, value: String },
    /// First text of a list that a regular expression finds, `[value]` or `[:value]`.
    Matches(String),
}

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path is empty")]
    Empty,
    #[error("{0:?} has no closing bracket")]
    Open(String),
    #[error("{0:?} selects nothing")]
    Selector(String),
    #[error("{0:?} is no regular expression")]
    Regex(String),
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// The path is empty, or a selector is not closed, empty, or no regular expression.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let text = text.trim_start_matches('/');
        let text = text
            .strip_suffix('/')
            .filter(|text| !text.ends_with('\\'))
            .unwrap_or(text);
        let mut segments = Vec::new();
        for part in split(text)? {
            segments.push(match part {
                Part::Key(key) => Segment::Key(key),
                Part::Selector(selector) => parse_selector(&selector)?,
            });
        }
        match segments.is_empty() {
            true => Err(PathError::Empty),
            false => Ok(Self(segments)),
        }
    }
}

/// A segment before selectors are read; keys are without their backslashes.
enum Part {
    Key(String),
    Selector(String),
}

fn split(text: &str) -> Result<Vec<Part>, PathError> {
    let mut parts = Vec::new();
    let mut key = String::new();
    let mut chars = text.chars();
    let finish = |key: &mut String, parts: &mut Vec<Part>| {
        if !key.is_empty() {
            parts.push(Part::Key(std::mem::take(key)));
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '\\' => key.push(chars.next().unwrap_or('\\')),
            '.' => finish(&mut key, &mut parts),
            '[' => {
                finish(&mut key, &mut parts);
                parts.push(Part::Selector(selector(&mut chars, text)?));
            }
            c => key.push(c),
        }
    }
    finish(&mut key, &mut parts);
    Ok(parts)
}

/// The text up to the closing bracket, backslashes kept.
fn selector(chars: &mut std::str::Chars<'_>, text: &str) -> Result<String, PathError> {
    let mut selector = String::new();
    let mut depth = 0;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                selector.push(c);
                selector.extend(chars.next());
            }
            ']' if depth == 0 => return Ok(selector),
            ']' => {
                depth -= 1;
                selector.push(c);
            }
            '[' => {
                depth += 1;
                selector.push(c);
            }
            c => selector.push(c),
        }
    }
    Err(PathError::Open(text.to_owned()))
}

fn parse_selector(selector: &str) -> Result<Segment, PathError> {
    if let Ok(index) = selector.parse::<i64>() {
        return Ok(Segment::Index(index));
    }
    let (key, value) = match separator(selector) {
        Some(at) => (&selector[..at], &selector[at + 1..]),
        None => ("", selector),
    };
    let (key, value) = (
        unescape(key, &[':', '.']),
        unescape(value, &[':', '.', ']']),
    );
    match (key.as_str(), value.as_str()) {
        (_, "") => Err(PathError::Selector(format!("[{selector}]"))),
        ("", pattern) => match Regex::new(pattern) {
            Ok(_) => Ok(Segment::Matches(value)),
            Err(_) => Err(PathError::Regex(value)),
        },
        _ => Ok(Segment::Item { key, value }),
    }
}

/// Place of the first colon that no backslash protects.
fn separator(selector: &str) -> Option<usize> {
    let mut escaped = false;
    selector.char_indices().find_map(|(at, c)| {
        let found = c == ':' && !escaped;
        escaped = c == '\\' && !escaped;
        found.then_some(at)
    })
}

/// Drops backslashes before some characters; others belong to regular expressions.
fn unescape(text: &str, special: &[char]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let drop = c == '\\' && chars.peek().is_some_and(|next| special.contains(next));
        if !drop {
            result.push(c);
        } else if let Some(next) = chars.next() {
            result.push(next);
        }
    }
    result
}

fn escape(text: &str, special: &[char]) -> String {
    let mut result = String::with_capacity(text.len());
    for c in text.chars() {
        if special.contains(&c) {
            result.push('\\');
        }
        result.push(c);
    }
    result
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            segment.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(&escape(key, &['\\', '.', '[', '/'])),
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Item { key, value } => {
                write!(
                    f,
                    "[{}:{}]",
                    escape(key, &[':', '.']),
                    escape(value, &[':', ']'])
                )
            }
            Self::Matches(pattern) => write!(f, "[:{}]", escape(pattern, &[':', ']'])),
        }
    }
}
