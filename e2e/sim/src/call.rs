//! Calls, described, and what becomes of them.

use std::fmt;

use crate::access_log::Hop;
use crate::app::{Served, header};

/// A call: who, where to, what. Without [`Call::from`] it comes from outside the cluster.
#[derive(Clone, Debug)]
pub struct Call {
    pub(crate) from: Option<String>,
    /// `host:port`; the host is an address or the name of a service.
    pub(crate) to: String,
    pub(crate) message: Message,
    pub(crate) tls: Option<Tls>,
}

#[derive(Clone, Debug)]
pub(crate) enum Message {
    Request(Request),
    /// Bytes; none means that the server speaks first.
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) http2: bool,
}

/// TLS of the client's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    pub(crate) server_name: String,
    /// PEM.
    pub(crate) roots: String,
    /// PEM of chain and key.
    pub(crate) certificate: Option<(String, String)>,
}

impl Call {
    /// `GET` of `http://host:port/path`, over HTTP/1.1. The port may be left out.
    pub fn get(url: &str) -> Self {
        Self::request("GET", url)
    }

    pub fn request(method: &'static str, url: &str) -> Self {
        let rest = url.trim_start_matches("http://");
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        Self::new(
            &with_port(authority),
            Message::Request(Request {
                method,
                authority: authority.to_owned(),
                path: path.to_owned(),
                headers: Vec::new(),
                http2: false,
            }),
        )
    }

    /// Bytes to `host:port`.
    pub fn tcp(to: &str, text: &str) -> Self {
        Self::new(to, Message::Bytes(text.as_bytes().to_vec()))
    }

    /// A connection to `host:port` on which the client waits for the server.
    pub fn silent(to: &str) -> Self {
        Self::tcp(to, "")
    }

    fn new(to: &str, message: Message) -> Self {
        Self {
            from: None,
            to: to.to_owned(),
            message,
            tls: None,
        }
    }

    /// The workload whose application calls.
    pub fn from(mut self, workload: &str) -> Self {
        self.from = Some(workload.to_owned());
        self
    }

    /// Another destination than the URL's.
    pub fn to(mut self, to: &str) -> Self {
        to.clone_into(&mut self.to);
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Message::Request(request) = &mut self.message {
            request.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Over HTTP/2, in plaintext with prior knowledge.
    pub fn http2(mut self) -> Self {
        if let Message::Request(request) = &mut self.message {
            request.http2 = true;
        }
        self
    }

    /// Through TLS to a server of this name whose certificate leads to these roots.
    pub fn tls(mut self, server_name: &str, roots_pem: &str) -> Self {
        let tls = self.tls.get_or_insert_default();
        server_name.clone_into(&mut tls.server_name);
        roots_pem.clone_into(&mut tls.roots);
        self
    }

    /// With a certificate of the client's own in TLS.
    pub fn certificate(mut self, chain_pem: &str, key_pem: &str) -> Self {
        let tls = self.tls.get_or_insert_default();
        tls.certificate = Some((chain_pem.to_owned(), key_pem.to_owned()));
        self
    }
}

fn with_port(authority: &str) -> String {
    match authority.contains(':') {
        true => authority.to_owned(),
        false => format!("{authority}:80"),
    }
}

/// What the client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Response {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// Text of a server that speaks no HTTP.
    Text(String),
    /// The connection was accepted and ended without an answer.
    Closed,
    /// Nobody listens.
    Refused,
    /// The client's TLS handshake failed.
    Handshake(String),
    /// Nothing came within an hour.
    Silence,
}

/// What became of a call.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub answer: Answer,
    /// The proxies on the way, the client's first.
    pub hops: Vec<Hop>,
    /// What applications saw, in the order of arrival.
    pub served: Vec<Served>,
}

impl Outcome {
    /// Status of the response; 0 when there was none.
    pub fn status(&self) -> u16 {
        match &self.answer {
            Answer::Response { status, .. } => *status,
            _ => 0,
        }
    }

    /// A header of the response.
    pub fn header(&self, name: &str) -> Option<&str> {
        match &self.answer {
            Answer::Response { headers, .. } => header(headers, name),
            _ => None,
        }
    }

    /// Body of the response, or text of a server that speaks no HTTP.
    pub fn text(&self) -> &str {
        match &self.answer {
            Answer::Response { body, .. } => body,
            Answer::Text(text) => text,
            _ => "",
        }
    }

    /// The proxy of a workload.
    ///
    /// # Panics
    /// The call did not pass it.
    #[track_caller]
    pub fn hop(&self, workload: &str) -> &Hop {
        let found = self.hops.iter().find(|hop| hop.proxy == workload);
        found.unwrap_or_else(|| panic!("{workload} is not among {self}"))
    }
}

/// One line, for messages of assertions.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, hops {:#?}", self.answer, self.hops)
    }
}
