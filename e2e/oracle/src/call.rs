//! A call as one line of text.
//!
//! ```text
//! GET a.test /path | x-a: 1 | answer 503 || 200; body=hi => 200 a,a
//! ```
//! Method, authority (`-`: none) and path; then segments behind ` | `: a header (`name: value`), or a word with its
//! argument (see [`Call::parse`]); behind `=>` the expected summary: statuses, servers in the order of attempts (`-`:
//! none), response flags of the access log; `*` is any one word, and `(a)` that server `a` may see the call or not: what
//! it sees is left aside. `!name` begins the decision that explains a difference, and the summary of our proxy if that is
//! what differs. `?name` is a gap: our proxy is to answer alike and does not yet, or not always. `\r`, `\n`, `\t`, `\|`,
//! `\\` and `\xNN` stand for bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::server::answer::{Answer, Kind};

/// What is said, to whom, and what is expected.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Line in the topic's file.
    pub line: usize,
    pub text: String,
    /// Name of the listener; empty: the first.
    pub listener: String,
    pub message: Message,
    pub tls: Option<Tls>,
    /// So many requests like it are under way meanwhile, on connections of their own; servers do not answer them.
    pub beside: usize,
    pub answers: Answers,
    pub expected: String,
    pub differs: Option<Differs>,
}

/// How upstream servers answer, by server (empty: all others), in the order of attempts; the last one repeats.
#[derive(Clone, Debug, Default)]
pub struct Answers(pub BTreeMap<String, Vec<Answer>>);

/// What a client says.
#[derive(Clone, Debug)]
pub enum Message {
    Request(Request),
    /// Bytes as they are; `$id` stands for the number of the call. Answers are read as HTTP/1.
    Raw(Vec<u8>),
    /// Bytes as they are, on a connection that carries no HTTP.
    Stream(Stream),
}

/// Bytes for a TCP proxy, and how the client ends.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub bytes: Vec<u8>,
    /// The client ends its half after the bytes.
    pub ends: bool,
}

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: Vec<u8>,
    pub authority: Option<Vec<u8>>,
    pub path: Vec<u8>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Body,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    pub protocol: Protocol,
    /// How often it is sent, one after the other on one connection.
    pub times: usize,
    /// After each answer, for what it changes to be in force.
    pub pause: Duration,
    /// What is said once the other side has switched protocols.
    pub then: Option<Vec<u8>>,
    /// The client goes away after this time.
    pub leaves_after_ms: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub enum Body {
    #[default]
    None,
    /// With its length.
    Sized(Vec<u8>),
    Chunked(Vec<u8>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http11,
    Http10,
    Http2,
}

/// How the client's handshake is made.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Server name; `None`: none is sent.
    pub sni: Option<String>,
    pub alpn: Vec<String>,
    /// Name of the client's certificate.
    pub certificate: Option<String>,
    /// The only version that is offered.
    pub version: Option<String>,
}

/// A difference that somebody decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differs {
    /// Name in `decisions.yaml`.
    pub decision: String,
    /// A known fault of ours, not a decision: how we differ is not asserted, and not differing is fine.
    pub is_gap: bool,
    /// Summary of our proxy, if it differs.
    pub summary: Option<String>,
    /// Otherwise the lines that differ: `- ` Envoy's, `+ ` ours.
    pub lines: Vec<String>,
}

impl Answers {
    /// None ever.
    pub fn hang() -> Self {
        let answer = Answer {
            kind: Kind::Hang,
            ..Answer::default()
        };
        Self([(String::new(), vec![answer])].into())
    }
}

impl Default for Message {
    fn default() -> Self {
        Message::Request(Request::default())
    }
}

impl Call {
    /// Words of segments: `on LISTENER`, `h2`, `http/1.0`, `body TEXT`, `chunked TEXT`, `trailer NAME: VALUE`,
    /// `times N`, `pause MILLISECONDS`, `then TEXT`, `leave MILLISECONDS`, `beside N`, `end`, `answer …` and
    /// `answer@SERVER …`, `tls …`.
    ///
    /// # Errors
    /// A word that is none of these, or a value that does not parse.
    pub fn parse(line: usize, text: &str) -> anyhow::Result<Self> {
        let (said, expected) = match text.rsplit_once("=>") {
            Some((said, expected)) => (said.trim_end(), expected.trim()),
            None => (text.trim_end(), ""),
        };
        let mut call = Self {
            line,
            text: said.to_owned(),
            ..Self::default()
        };
        call.expect(expected);
        let mut segments = said.split(" | ");
        let first = segments.next().unwrap_or_default();
        call.message = Message::parse(first).with_context(|| first.to_owned())?;
        for segment in segments {
            call.segment(segment.trim())
                .with_context(|| segment.to_owned())?;
        }
        Ok(call)
    }

    /// Whether it is one of HTTP.
    pub fn is_http(&self) -> bool {
        !matches!(self.message, Message::Stream(_))
    }

    /// Whether a summary is what the call expects.
    pub fn expects(&self, summary: &str) -> bool {
        let wanted: Vec<&str> = self.expected.split(' ').collect();
        let found: Vec<&str> = summary.split(' ').collect();
        let as_wanted = |(want, found): (&&str, &&str)| match *want {
            "*" => true,
            want if chance(want).is_some() => *found == "-",
            want => want == *found,
        };
        wanted.len() == found.len() && wanted.iter().zip(&found).all(as_wanted)
    }

    /// Whether it is chance that a server sees the call.
    pub fn is_chance(&self, server: &str) -> bool {
        self.expected
            .split(' ')
            .any(|word| chance(word) == Some(server))
    }

    fn expect(&mut self, text: &str) {
        let Some(at) = text.find(['!', '?']) else {
            self.expected = text.to_owned();
            return;
        };
        let (expected, decision) = text.split_at(at);
        let is_gap = decision.starts_with('?');
        let decision = decision.trim_start_matches(['!', '?']);
        self.expected = expected.trim().to_owned();
        let (name, summary) = match decision.trim().split_once(' ') {
            Some((name, summary)) => (name, Some(summary.trim().to_owned())),
            None => (decision.trim(), None),
        };
        self.differs = Some(Differs {
            decision: name.to_owned(),
            is_gap,
            summary,
            lines: Vec::new(),
        });
    }

    fn segment(&mut self, segment: &str) -> anyhow::Result<()> {
        let (word, argument) = segment.split_once(' ').unwrap_or((segment, ""));
        if let Some(server) = word.strip_prefix("answer") {
            let server = server.strip_prefix('@').unwrap_or(server);
            let answers = argument.split(" || ").map(Answer::parse);
            let answers = answers.collect::<anyhow::Result<_>>()?;
            self.answers.0.insert(server.to_owned(), answers);
            return Ok(());
        }
        match word {
            "on" => self.listener = argument.to_owned(),
            "tls" => self.tls = Some(Tls::parse(argument)?),
            "beside" => self.beside = argument.parse()?,
            _ => match &mut self.message {
                Message::Request(request) => request.segment(word, argument, segment)?,
                Message::Stream(stream) if word == "end" => stream.ends = true,
                Message::Stream(_) | Message::Raw(_) => bail!("only for requests"),
            },
        }
        Ok(())
    }
}

impl Message {
    fn parse(text: &str) -> anyhow::Result<Self> {
        if let Some(raw) = text.strip_prefix("RAW ") {
            return Ok(Message::Raw(unescape(raw)?));
        }
        if let Some(bytes) = text.strip_prefix("TCP ") {
            let bytes = unescape(bytes)?;
            return Ok(Message::Stream(Stream { bytes, ends: false }));
        }
        let mut words = text.split_whitespace();
        let (Some(method), Some(authority), Some(path), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            bail!("is not: METHOD AUTHORITY PATH");
        };
        Ok(Message::Request(Request {
            method: unescape(method)?,
            authority: (authority != "-")
                .then(|| unescape(authority))
                .transpose()?,
            path: unescape(path)?,
            times: 1,
            ..Request::default()
        }))
    }
}

impl Request {
    fn segment(&mut self, word: &str, argument: &str, whole: &str) -> anyhow::Result<()> {
        match word {
            "h2" => self.protocol = Protocol::Http2,
            "http/1.0" => self.protocol = Protocol::Http10,
            "body" => self.body = Body::Sized(unescape(argument)?),
            "chunked" => self.body = Body::Chunked(unescape(argument)?),
            "trailer" => self.trailers.push(header(argument)?),
            "times" => self.times = argument.parse()?,
            "pause" => self.pause = Duration::from_millis(argument.parse()?),
            "then" => self.then = Some(unescape(argument)?),
            "leave" => self.leaves_after_ms = Some(argument.parse()?),
            _ => self.headers.push(header(whole)?),
        }
        Ok(())
    }
}

impl Tls {
    /// `sni=NAME alpn=A,B cert=NAME version=1.2`, each optional.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut tls = Self::default();
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some(("sni", name)) => tls.sni = Some(name.to_owned()),
                Some(("alpn", names)) => tls.alpn = names.split(',').map(str::to_owned).collect(),
                Some(("cert", name)) => tls.certificate = Some(name.to_owned()),
                Some(("version", version)) => tls.version = Some(version.to_owned()),
                _ => bail!("{word:?} is none of sni=, alpn=, cert=, version="),
            }
        }
        Ok(tls)
    }
}

/// The server of `(server)`.
fn chance(word: &str) -> Option<&str> {
    word.strip_prefix('(')?.strip_suffix(')')
}

/// `name: value`, or `name:` for an empty value.
pub fn header(text: &str) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let colon = text.match_indices(':').map(|(at, _)| at).find(|at| *at > 0);
    let (name, value) = text.split_at(colon.context("is neither a header nor a known word")?);
    let value = value.strip_prefix(':').unwrap_or(value);
    Ok((
        unescape(name)?,
        unescape(value.strip_prefix(' ').unwrap_or(value))?,
    ))
}

/// Bytes of a text with escapes.
pub fn unescape(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let mut characters = escaped.chars();
        match characters.next() {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some(character @ ('|' | '\\')) => bytes.push(character as u8),
            Some('x') => {
                let digits = escaped.get(1..3).context("two digits follow \\x")?;
                bytes.push(u8::from_str_radix(digits, 16)?);
                characters = escaped.get(3..).unwrap_or_default().chars();
            }
            other => bail!("\\{other:?} is no escape"),
        }
        rest = characters.as_str();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_call() {
        let call = Call::parse(7, "POST a.test /x | x-a: 1 | h2 | body a\\x00 | answer 503 || 200 => 200 a,a !why 400 - DPE")
            .expect("valid");
        assert_eq!(call.expected, "200 a,a");
        assert_eq!(call.answers.0[""].len(), 2);
        let differs = call.differs.expect("has a decision");
        assert_eq!(differs.decision, "why");
        assert_eq!(differs.summary.as_deref(), Some("400 - DPE"));
        let Message::Request(request) = call.message else {
            panic!("is a request")
        };
        assert_eq!(request.protocol, Protocol::Http2);
        assert!(matches!(request.body, Body::Sized(body) if body == b"a\0"));
        assert_eq!(request.headers, [(b"x-a".to_vec(), b"1".to_vec())]);
    }

    #[test]
    fn expectations_may_leave_a_word_open() {
        let call = Call::parse(1, "GET a / => 200 * UC ?gap").expect("valid");
        assert!(call.expects("200 a UC") && !call.expects("200 a") && !call.expects("503 a UC"));
        assert!(call.differs.is_some_and(|differs| differs.is_gap));
    }

    #[test]
    fn whether_a_server_sees_a_call_may_be_chance() {
        let call = Call::parse(1, "GET a / => 400 (a) DPE").expect("valid");
        assert!(call.is_chance("a") && !call.is_chance("b"));
        assert!(call.expects("400 - DPE") && !call.expects("400 b DPE"));
    }

    #[test]
    fn what_is_no_call_is_refused() {
        for text in [
            "GET a",
            "GET a / | wat",
            "GET a / | times x",
            "RAW \\q",
            "TCP x | h2",
        ] {
            assert!(Call::parse(1, text).is_err(), "{text}");
        }
    }
}
