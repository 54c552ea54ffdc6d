//! Regular expressions with RE2's meaning: linear time, whole-text match, `\1` in substitutions.
//! <https://github.com/google/re2/wiki/Syntax>.

use std::borrow::Cow;

use ironsail_xds::matcher as proto;
use regex::bytes::{Regex, RegexBuilder};

use crate::resource::{At, CompileError};

/// Bytes a compiled expression may take; larger ones are refused.
const SIZE_LIMIT: usize = 4 << 20;

fn build(pattern: &str) -> Result<Regex, CompileError> {
    RegexBuilder::new(pattern)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| {
            CompileError::new(format!("invalid regular expression: {error}")).at("regex")
        })
}

/// An expression that a whole text must match. Texts that are not UTF-8 match nothing that names characters.
#[derive(Clone, Debug)]
pub struct FullRegex(Regex);

impl FullRegex {
    /// # Errors
    /// The expression is invalid or too large.
    pub fn compile(matcher: &proto::RegexMatcher) -> Result<Self, CompileError> {
        Self::new(&matcher.regex)
    }

    /// # Errors
    /// As [`FullRegex::compile`].
    pub fn new(pattern: &str) -> Result<Self, CompileError> {
        // Checked alone first: a pattern like `a)(b` is valid only between the parentheses added here.
        build(pattern)?;
        build(&format!("\\A(?:{pattern})\\z")).map(Self)
    }

    pub fn is_match(&self, text: &[u8]) -> bool {
        self.0.is_match(text)
    }
}

/// An expression whose matches are replaced.
#[derive(Clone, Debug)]
pub struct Substitution {
    regex: Regex,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Group(usize),
}

impl Substitution {
    /// # Errors
    /// The expression is invalid, or the substitution names a group that it lacks.
    pub fn compile(rewrite: &proto::RegexMatchAndSubstitute) -> Result<Self, CompileError> {
        let pattern = rewrite
            .pattern
            .as_ref()
            .ok_or_else(|| CompileError::new("is required").at("pattern"))?;
        let regex = build(&pattern.regex).at("pattern")?;
        let parts = parse_substitution(&rewrite.substitution, regex.captures_len())
            .map_err(|message| CompileError::new(message).at("substitution"))?;
        Ok(Self { regex, parts })
    }

    /// The text with every match replaced.
    pub fn apply<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out: Vec<u8> = Vec::new();
        let mut last = 0;
        let bytes = text.as_bytes();
        for captures in self.regex.captures_iter(bytes) {
            let Some(whole) = captures.get(0) else {
                continue;
            };
            out.extend_from_slice(bytes.get(last..whole.start()).unwrap_or(&[]));
            for part in &self.parts {
                match part {
                    Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                    Part::Group(group) => {
                        let found = captures.get(*group).map(|group| group.as_bytes());
                        out.extend_from_slice(found.unwrap_or(&[]));
                    }
                }
            }
            last = whole.end();
        }
        if last == 0 && out.is_empty() && !self.regex.is_match(bytes) {
            return text.into();
        }
        out.extend_from_slice(bytes.get(last..).unwrap_or(&[]));
        match String::from_utf8(out) {
            Ok(text) => text.into(),
            // Only an expression that splits a character can get here; the text stays as it was.
            Err(_) => text.into(),
        }
    }
}

fn parse_substitution(text: &str, groups: usize) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            literal.push(c);
            continue;
        }
        match chars.next() {
            Some('\\') => literal.push('\\'),
            Some(digit @ '0'..='9') => {
                let group = digit.to_digit(10).map_or(0, |digit| digit as usize);
                if group >= groups {
                    return Err(format!("there is no group {group}"));
                }
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal).into()));
                }
                parts.push(Part::Group(group));
            }
            _ => return Err("a backslash needs a digit or a backslash behind it".to_owned()),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn substitution(pattern: &str, substitution: &str) -> Result<Substitution, CompileError> {
        Substitution::compile(&proto::RegexMatchAndSubstitute {
            pattern: Some(proto::RegexMatcher {
                regex: pattern.to_owned(),
                ..Default::default()
            }),
            substitution: substitution.to_owned(),
        })
    }

    #[test]
    fn the_whole_text_must_match() {
        let regex = FullRegex::new("a|bc").expect("valid");
        assert!(regex.is_match(b"a") && regex.is_match(b"bc"));
        assert!(!regex.is_match(b"abc") && !regex.is_match(b"a\n"));
        assert!(FullRegex::new("a)(b").is_err());
        assert!(FullRegex::new("a{100}{100}{100}").is_err());
        assert!(!FullRegex::new(".*").expect("valid").is_match(b"\xff"));
    }

    #[test]
    fn substitutions_name_groups() {
        let apply = |pattern, text, with| {
            substitution(pattern, with)
                .expect("valid")
                .apply(text)
                .into_owned()
        };
        assert_eq!(
            apply("^/svc/([^/]+)(/.*)$", "/svc/v1/x", "\\2/\\1"),
            "/x/v1"
        );
        assert_eq!(apply("o", "/foo/boo", "0"), "/f00/b00");
        assert_eq!(apply("x", "/foo", "\\\\"), "/foo");
        assert_eq!(apply("o", "o", ""), "");
        assert!(substitution("a", "\\1").is_err());
        assert!(substitution("a", "\\x").is_err());
    }
}
