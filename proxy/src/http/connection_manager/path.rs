//! The one canonical form of a path that routing and filters see.

use std::borrow::Cow;

use super::config::{EscapedSlashes, PathPolicy};
use crate::http::message::split_query;

/// What becomes of a request's path.
#[derive(Debug, PartialEq, Eq)]
pub enum Normalized<'p> {
    Forward(Cow<'p, str>),
    /// Send the client to the canonical path.
    Redirect(String),
    /// 400, with response code details.
    Reject(&'static str),
}

/// Brings a path with query into canonical form; the query stays as it is, a fragment is dropped.
pub fn normalize<'p>(path: &'p str, policy: &PathPolicy) -> Normalized<'p> {
    let whole = path.split('#').next().unwrap_or_default();
    let (path_only, query) = split_query(whole);
    let mut path: Cow<'_, str> = path_only.into();
    let mut redirect = false;
    if policy.escaped_slashes != EscapedSlashes::Keep && has_escaped_slash(&path) {
        if policy.escaped_slashes == EscapedSlashes::Reject {
            return Normalized::Reject("path_normalization_failed");
        }
        redirect = policy.escaped_slashes == EscapedSlashes::UnescapeAndRedirect;
        path = unescape_slashes(&path).into();
    }
    if policy.normalize && !is_canonical(&path) {
        if contains_escaped_nul(&path) {
            return Normalized::Reject("path_normalization_failed");
        }
        path = escape_delimiters(remove_dot_segments(&decode_unreserved(&path))).into();
    }
    if policy.merge_slashes && path.contains("//") {
        path = merge_slashes(&path).into();
    }
    let path: Cow<'p, str> = match (path, query) {
        (Cow::Borrowed(_), _) => whole.into(),
        (Cow::Owned(path), None) => path.into(),
        (Cow::Owned(path), Some(query)) => format!("{path}?{query}").into(),
    };
    if redirect {
        Normalized::Redirect(path.into_owned())
    } else {
        Normalized::Forward(path)
    }
}

/// Nothing that normalisation could change: no escapes, no backslashes, no dot segments, nothing to escape.
fn is_canonical(path: &str) -> bool {
    let changes = |byte| matches!(byte, b'%' | b'\\') || is_delimiter(byte);
    !path.bytes().any(changes) && !path.contains("/.")
}

/// Characters that no path may contain (RFC 3986 section 3.3) and that are let in nevertheless.
fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn escape_delimiters(path: String) -> String {
    if !path.bytes().any(is_delimiter) {
        return path;
    }
    let escape = |character: char| match u8::try_from(character) {
        Ok(byte) if is_delimiter(byte) => format!("%{byte:02X}"),
        _ => character.to_string(),
    };
    path.chars().map(escape).collect()
}

fn hex(byte: Option<&u8>) -> Option<u8> {
    let digit = char::from(*byte?).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// The byte that an escape at the start of `text` stands for.
fn escaped(text: &[u8]) -> Option<u8> {
    if text.first() != Some(&b'%') {
        return None;
    }
    Some(hex(text.get(1))? << 4 | hex(text.get(2))?)
}

/// Replaces the escapes whose byte `decode` wants.
fn decode_where(path: &str, decode: impl Fn(u8) -> bool) -> String {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        match escaped(rest) {
            Some(decoded) if decode(decoded) => {
                out.push(decoded);
                rest = rest.get(3..).unwrap_or(&[]);
            }
            _ => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    // Only ASCII is decoded.
    String::from_utf8(out).unwrap_or_default()
}

fn has_escaped_slash(path: &str) -> bool {
    (0..path.len())
        .filter_map(|at| escaped(path.as_bytes().get(at..)?))
        .any(|byte| matches!(byte, b'/' | b'\\'))
}

fn contains_escaped_nul(path: &str) -> bool {
    path.contains("%00")
}

fn unescape_slashes(path: &str) -> String {
    decode_where(path, |byte| matches!(byte, b'/' | b'\\'))
}

/// RFC 3986 section 6.2.2.2; and `\` is `/`, as browsers have it.
fn decode_unreserved(path: &str) -> String {
    decode_where(path, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
    })
    .replace('\\', "/")
}

/// RFC 3986 section 5.2.4. A segment with parameters, `..;x`, counts as what it is without them.
fn remove_dot_segments(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = parts.next() {
        let last = parts.peek().is_none();
        match segment.split(';').next().unwrap_or_default() {
            "." => {}
            ".." => {
                segments.pop();
            }
            _ => {
                segments.push(segment);
                continue;
            }
        }
        if last {
            segments.push("");
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in segments {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

fn merge_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !out.ends_with('/') {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: PathPolicy = PathPolicy {
        normalize: false,
        merge_slashes: false,
        escaped_slashes: EscapedSlashes::Keep,
    };
    const BASE: PathPolicy = PathPolicy {
        normalize: true,
        ..NONE
    };
    const MERGE: PathPolicy = PathPolicy {
        merge_slashes: true,
        ..BASE
    };
    const DECODE: PathPolicy = PathPolicy {
        escaped_slashes: EscapedSlashes::UnescapeAndForward,
        ..MERGE
    };

    #[track_caller]
    fn check(policy: &PathPolicy, path: &str, expected: &str) {
        let normalized = normalize(path, policy);
        assert_eq!(normalized, Normalized::Forward(expected.into()), "{path}");
    }

    /// Path, and what BASE, MERGE_SLASHES and DECODE_AND_MERGE_SLASHES make of it.
    const TABLE: &[(&str, &str, &str, &str)] = &[
        ("/app/../admin", "/admin", "/admin", "/admin"),
        ("/app/%2E./admin", "/admin", "/admin", "/admin"),
        ("/%7eu", "/~u", "/~u", "/~u"),
        ("/%41", "/A", "/A", "/A"),
        ("/app\\admin", "/app/admin", "/app/admin", "/app/admin"),
        ("/app//", "/app//", "/app/", "/app/"),
        (
            "/xyz%30..//abc",
            "/xyz0..//abc",
            "/xyz0../abc",
            "/xyz0../abc",
        ),
        ("/app%2f/", "/app%2f/", "/app%2f/", "/app/"),
        (
            "/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\\abc",
            "/%5Capp%2f%5c%2F..%2fadmin%5c/abc",
            "/%5Capp%2f%5c%2F..%2fadmin%5c/abc",
            "/app/admin/abc",
        ),
        ("/app//../admin", "/app/admin", "/app/admin", "/app/admin"),
        ("/app//../../admin", "/admin", "/admin", "/admin"),
        ("/../..", "/", "/", "/"),
        ("/a/b/..", "/a/", "/a/", "/a/"),
        ("/a/.", "/a/", "/a/", "/a/"),
        (
            "/%252e%252e/x",
            "/%252e%252e/x",
            "/%252e%252e/x",
            "/%252e%252e/x",
        ),
        (
            "/%c0%2e%c0%2e/x",
            "/%c0.%c0./x",
            "/%c0.%c0./x",
            "/%c0.%c0./x",
        ),
        ("/Admin", "/Admin", "/Admin", "/Admin"),
        ("/a%zz", "/a%zz", "/a%zz", "/a%zz"),
        ("/a%", "/a%", "/a%", "/a%"),
        ("/..;/admin", "/admin", "/admin", "/admin"),
        ("/a/..;x=1/admin", "/admin", "/admin", "/admin"),
        ("/a/.;/b", "/a/b", "/a/b", "/a/b"),
        (
            "/admin;a=b/xyz",
            "/admin;a=b/xyz",
            "/admin;a=b/xyz",
            "/admin;a=b/xyz",
        ),
        (
            "/a/../b?c=/../d//e%2f",
            "/b?c=/../d//e%2f",
            "/b?c=/../d//e%2f",
            "/b?c=/../d//e%2f",
        ),
        ("/...", "/...", "/...", "/..."),
        (
            "/.well-known/x",
            "/.well-known/x",
            "/.well-known/x",
            "/.well-known/x",
        ),
    ];

    #[test]
    fn normalization_table() {
        for (path, base, merge, decode) in TABLE {
            check(&NONE, path, path);
            check(&BASE, path, base);
            check(&MERGE, path, merge);
            check(&DECODE, path, decode);
        }
    }

    #[test]
    fn fragments_are_dropped_in_all_modes() {
        for policy in [&NONE, &BASE, &MERGE, &DECODE] {
            check(policy, "/app#foo", "/app");
            check(policy, "/app?a#foo?b", "/app?a");
        }
    }

    #[test]
    fn escaped_nul_passes_only_without_normalization() {
        check(&NONE, "/admin%00", "/admin%00");
        for policy in [&BASE, &MERGE, &DECODE] {
            assert!(matches!(
                normalize("/admin%00", policy),
                Normalized::Reject(_)
            ));
        }
    }

    #[test]
    fn escaped_slashes_are_refused_or_redirected_when_configured() {
        let policy = |escaped_slashes| PathPolicy {
            escaped_slashes,
            ..BASE
        };
        let reject = policy(EscapedSlashes::Reject);
        assert!(matches!(
            normalize("/a%2Fb", &reject),
            Normalized::Reject(_)
        ));
        check(&reject, "/a%20b", "/a%20b");
        let redirect = policy(EscapedSlashes::UnescapeAndRedirect);
        assert_eq!(
            normalize("/a%2f..%5Cb?q", &redirect),
            Normalized::Redirect("/b?q".to_owned())
        );
        check(&redirect, "/a", "/a");
    }

    #[test]
    fn normalizing_twice_changes_nothing() {
        for (path, ..) in TABLE {
            for policy in [&BASE, &MERGE, &DECODE] {
                let Normalized::Forward(once) = normalize(path, policy) else {
                    panic!("{path}");
                };
                check(policy, &once.clone(), &once);
            }
        }
    }
}
