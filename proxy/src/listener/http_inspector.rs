//! Tells HTTP by its first bytes.

/// What HTTP/2 clients with prior knowledge send first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest request line that is waited for.
const MAX_LINE: usize = 64 * 1024;

/// Methods of the IANA registry, and PURGE, which caches use.
const METHODS: &[&[u8]] = &[
    b"ACL",
    b"BASELINE-CONTROL",
    b"BIND",
    b"CHECKIN",
    b"CHECKOUT",
    b"CONNECT",
    b"COPY",
    b"DELETE",
    b"GET",
    b"HEAD",
    b"LABEL",
    b"LINK",
    b"LOCK",
    b"MERGE",
    b"MKACTIVITY",
    b"MKCALENDAR",
    b"MKCOL",
    b"MKREDIRECTREF",
    b"MKWORKSPACE",
    b"MOVE",
    b"OPTIONS",
    b"ORDERPATCH",
    b"PATCH",
    b"POST",
    b"PROPFIND",
    b"PROPPATCH",
    b"PURGE",
    b"PUT",
    b"REBIND",
    b"REPORT",
    b"SEARCH",
    b"TRACE",
    b"UNBIND",
    b"UNCHECKOUT",
    b"UNLINK",
    b"UNLOCK",
    b"UPDATE",
    b"UPDATEREDIRECTREF",
    b"VERSION-CONTROL",
];

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspected {
    NeedMore,
    NotHttp,
    Http10,
    Http11,
    /// HTTP/2 with prior knowledge.
    H2c,
}

impl Inspected {
    /// The application protocol that filter chains match.
    pub fn application_protocol(self) -> Option<&'static [u8]> {
        match self {
            Inspected::Http10 => Some(b"http/1.0"),
            Inspected::Http11 => Some(b"http/1.1"),
            Inspected::H2c => Some(b"h2c"),
            Inspected::NeedMore | Inspected::NotHttp => None,
        }
    }
}

/// Looks at the first bytes of a connection; decides as soon as they can be nothing else.
pub fn inspect(bytes: &[u8]) -> Inspected {
    let known = bytes.len().min(PREFACE.len());
    if bytes.get(..known) == PREFACE.get(..known) {
        return if known == PREFACE.len() {
            Inspected::H2c
        } else {
            Inspected::NeedMore
        };
    }
    let Some(space) = bytes.iter().position(|byte| *byte == b' ') else {
        let possible = METHODS.iter().any(|method| method.starts_with(bytes));
        return if possible {
            Inspected::NeedMore
        } else {
            Inspected::NotHttp
        };
    };
    let (method, rest) = bytes.split_at(space);
    if !METHODS.contains(&method) {
        return Inspected::NotHttp;
    }
    match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => version(rest.get(..end).unwrap_or_default()),
        None if bytes.len() > MAX_LINE => Inspected::NotHttp,
        None => Inspected::NeedMore,
    }
}

/// The version at the end of ` <target> HTTP/1.1`, with or without `\r`.
fn version(line: &[u8]) -> Inspected {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.ends_with(b" HTTP/1.1") {
        Inspected::Http11
    } else if line.ends_with(b" HTTP/1.0") {
        Inspected::Http10
    } else {
        Inspected::NotHttp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_decide() {
        for (bytes, expected) in [
            (&b""[..], Inspected::NeedMore),
            (b"GE", Inspected::NeedMore),
            (b"GET", Inspected::NeedMore),
            (b"GETX", Inspected::NotHttp),
            (b"GET / HTTP/1.1\r", Inspected::NeedMore),
            (b"GET / HTTP/1.1\r\n", Inspected::Http11),
            (b"GET / HTTP/1.0\n", Inspected::Http10),
            (b"GET /\r\n", Inspected::NotHttp),
            (b"get / HTTP/1.1\r\n", Inspected::NotHttp),
            (b"PR", Inspected::NeedMore),
            (b"PROPFIND /x HTTP/1.1\r\n", Inspected::Http11),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", Inspected::NeedMore),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n....", Inspected::H2c),
            (b"PRI / HTTP/1.1\r\n", Inspected::NotHttp),
            (b"\x16\x03\x01", Inspected::NotHttp),
            (b"SSH-2.0-x", Inspected::NotHttp),
            (b" GET", Inspected::NotHttp),
        ] {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(inspect(bytes), expected, "{text:?}");
        }
    }
}
