//! How an upstream server answers one attempt.

use std::time::Duration;

use anyhow::{Context, bail};

use crate::call::{header, unescape};

/// One answer. `200` alone is a response with the body `ok`.
#[derive(Clone, Debug)]
pub struct Answer {
    pub kind: Kind,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Option<Vec<u8>>,
    pub trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Informational responses before it.
    pub informational: Vec<u16>,
    /// Before anything is sent.
    pub delay: Duration,
    /// Between head and body.
    pub stall: Duration,
    /// The body has no length: HTTP/1 in chunks.
    pub chunked: bool,
    /// The body ends where the connection ends.
    pub until_close: bool,
    /// The connection, or with HTTP/2 the stream, ends in the middle of the body.
    pub cut: bool,
    /// The answer begins before the request's body is read.
    pub early: bool,
    /// The connection is closed after the answer, unannounced.
    pub closes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Response(u16),
    /// These bytes, then the end.
    Raw(Vec<u8>),
    /// The end of the connection; with HTTP/2 of the stream, without error.
    Close,
    /// RST; with HTTP/2 `RST_STREAM` with this code.
    Reset(u32),
    /// Nothing, until the other side goes.
    Hang,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            kind: Kind::Response(200),
            headers: Vec::new(),
            body: None,
            trailers: Vec::new(),
            informational: Vec::new(),
            delay: Duration::ZERO,
            stall: Duration::ZERO,
            chunked: false,
            until_close: false,
            cut: false,
            early: false,
            closes: false,
        }
    }
}

impl Answer {
    /// Parts behind `; `: first a status, `close`, `reset`, `reset=CODE`, `hang` or `raw TEXT`; then headers
    /// (`name: value`), `body=TEXT`, `trailer NAME: VALUE`, `info=103`, `delay=MS`, `stall=MS`, and the words `empty`,
    /// `chunked`, `until-close`, `cut`, `early`, `closes`.
    ///
    /// # Errors
    /// A part that is none of these.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.split("; ");
        let mut answer = Self {
            kind: Kind::parse(parts.next().unwrap_or_default())?,
            ..Self::default()
        };
        for part in parts {
            answer.part(part).with_context(|| part.to_owned())?;
        }
        Ok(answer)
    }

    /// The body that is sent.
    pub fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or(b"ok")
    }

    fn part(&mut self, part: &str) -> anyhow::Result<()> {
        let milliseconds = |text: &str| anyhow::Ok(Duration::from_millis(text.parse()?));
        match part {
            "empty" => self.body = Some(Vec::new()),
            "chunked" => self.chunked = true,
            "until-close" => self.until_close = true,
            "cut" => self.cut = true,
            "early" => self.early = true,
            "closes" => self.closes = true,
            _ if part.starts_with("trailer ") => self.trailers.push(header(&part[8..])?),
            _ => match part.split_once('=') {
                Some(("body", text)) => self.body = Some(unescape(text)?),
                Some(("info", status)) => self.informational.push(status.parse()?),
                Some(("delay", text)) => self.delay = milliseconds(text)?,
                Some(("stall", text)) => self.stall = milliseconds(text)?,
                _ => self.headers.push(header(part)?),
            },
        }
        Ok(())
    }
}

impl Kind {
    fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(match text {
            "close" => Kind::Close,
            "hang" => Kind::Hang,
            "reset" => Kind::Reset(2),
            _ => match (text.strip_prefix("raw "), text.strip_prefix("reset=")) {
                (Some(raw), _) => Kind::Raw(unescape(raw)?),
                (_, Some(code)) => Kind::Reset(code.parse()?),
                _ => match text.parse() {
                    Ok(status) => Kind::Response(status),
                    Err(_) => bail!("{text:?} is no answer"),
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_an_answer() {
        let answer =
            Answer::parse("503; retry-after: 1; body=a b; delay=20; trailer t: v; info=103; cut")
                .expect("valid");
        assert_eq!(answer.kind, Kind::Response(503));
        assert_eq!(answer.headers, [(b"retry-after".to_vec(), b"1".to_vec())]);
        assert_eq!(answer.body(), b"a b");
        assert_eq!(answer.delay, Duration::from_millis(20));
        assert!(answer.cut && answer.trailers.len() == 1);
        assert!(Answer::parse("nope").is_err() && Answer::parse("200; nope").is_err());
    }
}
