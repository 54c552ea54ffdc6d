//! Requests that two parsers may read differently, through two proxies in a row.
//!
//! Both log what they made of them. What the second one served must be what the first one forwarded, and no client
//! may see an answer to somebody else's request.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ironsail_peer::{Process, free_port};
use ironsail_proxy::resource::Switches;
use ironsail_proxy::testing::frames::{self, DATA, END_STREAM, frame, head};
use ironsail_wire::{Hop, Proxy, Upstream, origin::Origin, peer};
use ironsail_xds::core::TrafficDirection;

use crate::ambiguous::{HTTP1, HTTP2};

/// How long a client waits for more.
const SILENCE: Duration = Duration::from_millis(700);
/// Time for logs to be written.
const LOGGED: Duration = Duration::from_millis(500);
/// Time for programs to log what they have done, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(8);

/// Who stands where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ours,
    /// Ours with `IRONSAIL_HTTP1_LENIENT`.
    OursLenient,
    Nginx,
    Haproxy,
}

/// A running proxy of a chain.
enum Running {
    Ours { _proxy: Proxy },
    Other { _process: Process },
}

impl Kind {
    fn start(self, port: u16, server: u16, directory: &Path) -> Running {
        let log = self.log(directory);
        let process = match self {
            Kind::Ours | Kind::OursLenient => {
                let switches = Switches {
                    lenient_http1: self == Kind::OursLenient,
                };
                let hop = Hop {
                    direction: TrafficDirection::Inbound,
                    port,
                    server,
                    upstream: Upstream::Http1,
                    certificate: None,
                    client_root: None,
                    access_log: Some(&log),
                };
                let proxy = Proxy::start_with(switches, &hop.listener(), &hop.cluster(), port);
                return Running::Ours {
                    _proxy: proxy.expect("starts"),
                };
            }
            Kind::Nginx => peer::nginx(port, server, &log, directory),
            Kind::Haproxy => peer::haproxy(port, server, directory),
        };
        Running::Other {
            _process: process.expect("starts"),
        }
    }

    fn log(self, directory: &Path) -> PathBuf {
        directory.join(match self {
            Kind::Haproxy => "haproxy.log",
            Kind::Ours | Kind::OursLenient | Kind::Nginx => "requests",
        })
    }
}

/// A request of a log, by the part of its path that is its own: `/c17/a`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    path: String,
    /// Sent on to a server.
    forwarded: bool,
    status: String,
}

fn read_log(path: &Path) -> Vec<Line> {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = |line: &str| {
        let mut words = line.rsplitn(3, ' ');
        let (upstream, status, request) = (words.next()?, words.next()?, words.next()?);
        Some(Line {
            path: marker(request)?,
            forwarded: upstream.starts_with("127.") || upstream.starts_with("origin:"),
            status: status.to_owned(),
        })
    };
    text.lines().filter_map(line).collect()
}

/// The first `/c<number>/<word>` of a text.
fn marker(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find("/c") {
        let tail = rest.get(at + 2..)?;
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        let word = tail.get(digits..)?.strip_prefix('/');
        if let Some(word) = word.filter(|_| digits > 0) {
            let letters = word.bytes().take_while(u8::is_ascii_lowercase).count();
            return Some(format!(
                "/c{}/{}",
                tail.get(..digits)?,
                word.get(..letters)?
            ));
        }
        rest = tail;
    }
    None
}

/// How often each path is there.
fn count<'a>(lines: impl Iterator<Item = &'a Line>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.path.as_str()).or_default() += 1;
    }
    counts
}

/// Differences between what the front sent on and what the back took.
fn findings(front: &[Line], back: &[Line]) -> Vec<String> {
    let sent = count(front.iter().filter(|line| line.forwarded));
    let taken = count(back.iter().filter(|line| line.status != "400"));
    let answered = count(
        front
            .iter()
            .filter(|line| line.forwarded && line.status == "200"),
    );
    let of = |counts: &BTreeMap<&str, usize>, path: &str| counts.get(path).copied().unwrap_or(0);
    let smuggled = taken
        .iter()
        .filter(|(path, count)| of(&sent, path) < **count);
    let smuggled = smuggled.map(|(path, _)| format!("{path} was taken, but not sent"));
    let swapped = answered
        .iter()
        .filter(|(path, count)| of(&taken, path) < **count);
    let swapped = swapped.map(|(path, _)| format!("{path} was answered, but not taken"));
    smuggled.chain(swapped).collect()
}

/// Sends bytes and reads until nothing more comes.
fn ask(stream: &mut TcpStream, bytes: &[u8], read: &mut Vec<u8>) -> bool {
    if stream.write_all(bytes).is_err() {
        return false;
    }
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return false,
            Ok(count) => read.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) => {
                return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
}

/// One client: the request, then another one on the same connection, if there still is one. What it saw of others.
fn play(port: u16, number: usize, first: &[u8], second: &[u8]) -> Vec<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("somebody listens");
    stream.set_read_timeout(Some(SILENCE)).expect("not zero");
    let mut read = Vec::new();
    if ask(&mut stream, first, &mut read) {
        ask(&mut stream, second, &mut read);
    }
    // The proxy may have closed it.
    let _ = stream.shutdown(Shutdown::Both);
    let text = String::from_utf8_lossy(&read);
    let own = format!("/c{number}/");
    let answers = text.split("served ").skip(1).filter_map(marker);
    let foreign = answers.filter(|path| !path.starts_with(&own));
    foreign
        .map(|path| format!("{own} saw the answer of {path}"))
        .collect()
}

/// Both requests of each client, by number.
type Conversation = (usize, Vec<u8>, Vec<u8>);

fn over_http1() -> Vec<Conversation> {
    let expand = |number: usize, text: &str| {
        let hidden = format!("GET /c{number}/smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let size = format!("{:x}", hidden.len());
        let text = text.replace("{smuggled}", &hidden).replace("{size}", &size);
        let body = text
            .split_once("\r\n\r\n")
            .map_or(0, |(_, body)| body.len());
        text.replace("{id}", &format!("c{number}"))
            .replace("{len}", &body.to_string())
    };
    let conversation = |(number, text): (usize, &&str)| {
        let first = expand(number, text);
        let second = expand(number, "GET /{id}/canary HTTP/1.1\r\nHost: a\r\n\r\n");
        // Bytes that are no UTF-8 stand as characters of Latin-1.
        let latin = |text: String| text.chars().map(|char| char as u8).collect();
        (number, latin(first), latin(second))
    };
    HTTP1.iter().enumerate().map(conversation).collect()
}

fn over_http2(first_number: usize) -> Vec<Conversation> {
    let request = |number: usize, stream: u32, fields: &[(&str, &str)], body: Option<&str>| {
        let id = format!("c{number}");
        let hidden = format!("GET /{id}/smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let fill = |text: &str| text.replace("{id}", &id).replace("{smuggled}", &hidden);
        let owned: Vec<_> = fields
            .iter()
            .map(|(name, value)| (fill(name), fill(value)))
            .collect();
        let fields: Vec<_> = owned
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        match body {
            None => head(stream, END_STREAM, &fields),
            Some(body) => {
                let data = frame(DATA, END_STREAM, stream, fill(body).as_bytes());
                [head(stream, 0, &fields), data].concat()
            }
        }
    };
    let canary = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/{id}/canary"),
    ];
    let conversation = |(number, (fields, body)): (usize, &(&[(&str, &str)], Option<&str>))| {
        let number = first_number + number;
        let first = [frames::preface(), request(number, 1, fields, *body)].concat();
        (number, first, request(number, 3, &canary, None))
    };
    HTTP2.iter().enumerate().map(conversation).collect()
}

fn check(front: Kind, back: Kind, http2: bool) {
    let directory = tempfile::tempdir().expect("a folder");
    let folder = |name: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir(&path).expect("a new folder");
        path
    };
    let origin = Origin::echoing().expect("a port");
    let (front_port, back_port) = (free_port().expect("a port"), free_port().expect("a port"));
    let (front_folder, back_folder) = (folder("front"), folder("back"));
    let _back = back.start(back_port, origin.port, &back_folder);
    let _front = front.start(front_port, back_port, &front_folder);

    let mut conversations = over_http1();
    if http2 {
        conversations.extend(over_http2(conversations.len()));
    }
    let mut wrong: Vec<String> = std::thread::scope(|scope| {
        let play =
            |(number, first, second): &Conversation| play(front_port, *number, first, second);
        let clients: Vec<_> = conversations
            .iter()
            .map(|conversation| scope.spawn(move || play(conversation)))
            .collect();
        let seen = clients
            .into_iter()
            .map(|client| client.join().expect("no panic"));
        seen.flatten().collect()
    });
    // Each program logs in its own time. What was smuggled stays in one log only.
    let end = Instant::now() + PATIENCE;
    let (front_lines, back_lines, found) = loop {
        std::thread::sleep(LOGGED);
        ironsail_proxy::access_log::flush_all();
        let front_lines = read_log(&front.log(&front_folder));
        let back_lines = read_log(&back.log(&back_folder));
        let found = findings(&front_lines, &back_lines);
        if found.is_empty() || Instant::now() > end {
            break (front_lines, back_lines, found);
        }
    };
    wrong.extend(found);
    let plain = |lines: &[Line]| {
        lines
            .iter()
            .filter(|line| line.path.ends_with("/a"))
            .count()
    };
    assert!(
        plain(&front_lines) > 10 && plain(&back_lines) > 10,
        "logs are empty"
    );
    let text = |id: &str| {
        let number: usize = id
            .trim_start_matches("/c")
            .split('/')
            .next()?
            .parse()
            .ok()?;
        let (_, first, _) = conversations.get(number)?;
        Some(String::from_utf8_lossy(first).into_owned())
    };
    let wrong: Vec<_> = wrong
        .iter()
        .map(|finding| (finding, text(finding)))
        .collect();
    assert!(wrong.is_empty(), "{front:?} before {back:?}: {wrong:#?}");
}

#[test]
fn nginx_behind() {
    check(Kind::Ours, Kind::Nginx, true);
}

#[test]
fn haproxy_behind() {
    check(Kind::Ours, Kind::Haproxy, true);
}

#[test]
fn nginx_before() {
    check(Kind::Nginx, Kind::Ours, false);
}

#[test]
fn haproxy_before() {
    check(Kind::Haproxy, Kind::Ours, true);
}

#[test]
fn lenient_before_nginx() {
    check(Kind::OursLenient, Kind::Nginx, false);
}

#[test]
fn lenient_before_haproxy() {
    check(Kind::OursLenient, Kind::Haproxy, false);
}

#[test]
fn lenient_behind_nginx() {
    check(Kind::Nginx, Kind::OursLenient, false);
}

#[test]
fn lenient_behind_haproxy() {
    check(Kind::Haproxy, Kind::OursLenient, false);
}
