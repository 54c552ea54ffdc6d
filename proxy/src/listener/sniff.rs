//! Runs the listener filters that look at the first bytes of a connection.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use super::http_inspector;
use super::tls_inspector::{self, ClientHello};
use crate::conn::{ConnectionInfo, Raw, TransportProtocol};
use crate::network::tcp_proxy::{Dialled, TcpProxyConfig, dial};
use crate::resource::listener::ListenerFilterKind;
use crate::worker::Worker;

/// Bytes read at once; most requests and hellos fit.
const READ_SIZE: usize = 1024;
/// How long a client may stay silent before its server is asked whether it speaks first.
const SERVER_FIRST_DELAY: Duration = Duration::from_millis(50);

/// What was found out, and the bytes that were read for it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub transport: TransportProtocol,
    pub server_name: Option<String>,
    pub application_protocols: Vec<Vec<u8>>,
}

/// How sniffing ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The client spoke; a server that was asked meanwhile is connected.
    Client(Findings, Option<Dialled>),
    /// The server spoke first.
    Server(Dialled),
    /// The connection is to be closed.
    Refused(&'static str),
}

/// Where a connection goes if the client stays silent.
pub(super) struct SilentChain<'a> {
    pub config: &'a TcpProxyConfig,
    pub info: &'a ConnectionInfo,
    pub worker: &'a Worker,
}

/// Reads ahead until every filter knows enough. What was read is left in `buffer`, also when the future is dropped.
pub(super) async fn sniff(
    raw: &mut Raw,
    buffer: &RefCell<BytesMut>,
    filters: &[ListenerFilterKind],
    silent: Option<SilentChain<'_>>,
) -> io::Result<Outcome> {
    let mut findings = Findings::default();
    let mut early = None;
    let mut silent = silent;
    for filter in filters {
        loop {
            match step(*filter, &buffer.borrow(), &mut findings) {
                Step::Done => break,
                Step::Refuse(reason) => return Ok(Outcome::Refused(reason)),
                Step::NeedMore => {}
            }
            let read = match silent.take() {
                Some(silent) => match race(raw, buffer, silent).await? {
                    Spoke::Server(dialled) => return Ok(Outcome::Server(dialled)),
                    Spoke::Client(read, dialled) => {
                        early = dialled;
                        read
                    }
                },
                None => read_more(raw, buffer).await?,
            };
            if read == 0 {
                // It will say no more; what it is, is decided by what it said.
                return Ok(Outcome::Client(findings, early));
            }
        }
    }
    Ok(Outcome::Client(findings, early))
}

enum Step {
    Done,
    NeedMore,
    Refuse(&'static str),
}

fn step(filter: ListenerFilterKind, bytes: &[u8], findings: &mut Findings) -> Step {
    match filter {
        // Done when the connection was accepted.
        ListenerFilterKind::OriginalDst => Step::Done,
        ListenerFilterKind::TlsInspector { max_hello } => {
            if bytes.is_empty() {
                return Step::NeedMore;
            }
            match tls_inspector::inspect(bytes, max_hello) {
                tls_inspector::Inspected::NeedMore => Step::NeedMore,
                tls_inspector::Inspected::NotTls => Step::Done,
                tls_inspector::Inspected::TooLong => Step::Refuse("client_hello_too_large"),
                tls_inspector::Inspected::Hello(hello) => {
                    let ClientHello {
                        server_name,
                        application_protocols,
                    } = hello;
                    findings.transport = TransportProtocol::Tls;
                    findings.server_name = server_name;
                    findings.application_protocols = application_protocols;
                    Step::Done
                }
            }
        }
        ListenerFilterKind::HttpInspector => {
            if findings.transport == TransportProtocol::Tls {
                return Step::Done;
            }
            match http_inspector::inspect(bytes) {
                http_inspector::Inspected::NeedMore => Step::NeedMore,
                found => {
                    let protocol = found.application_protocol();
                    findings
                        .application_protocols
                        .extend(protocol.map(<[u8]>::to_vec));
                    Step::Done
                }
            }
        }
    }
}

async fn read_more(raw: &mut Raw, buffer: &RefCell<BytesMut>) -> io::Result<usize> {
    let mut chunk = BytesMut::with_capacity(READ_SIZE);
    let read = raw.read_buf(&mut chunk).await?;
    buffer.borrow_mut().unsplit(chunk);
    Ok(read)
}

enum Spoke {
    /// Bytes that were read, and the server if it is connected already.
    Client(usize, Option<Dialled>),
    Server(Dialled),
}

/// Waits for whoever speaks first. A server that cannot be reached says nothing.
async fn race(
    raw: &mut Raw,
    buffer: &RefCell<BytesMut>,
    silent: SilentChain<'_>,
) -> io::Result<Spoke> {
    let connected: RefCell<Option<Dialled>> = RefCell::default();
    let server = async {
        tokio::time::sleep(SERVER_FIRST_DELAY).await;
        match dial(silent.config, silent.info, silent.worker).await {
            Ok(dialled) => {
                *connected.borrow_mut() = Some(dialled);
            }
            Err(_) => pending().await,
        }
        std::future::poll_fn(|cx| match connected.borrow_mut().as_mut() {
            Some(dialled) => dialled.upstream.io.poll_readable(cx).map(|_| ()),
            None => std::task::Poll::Pending,
        })
        .await;
    };
    let read = tokio::select! {
        biased;
        read = read_more(raw, buffer) => Some(read?),
        () = server => None,
    };
    let dialled = connected.take();
    Ok(match (read, dialled) {
        (Some(read), dialled) => Spoke::Client(read, dialled),
        (None, Some(dialled)) => Spoke::Server(dialled),
        // Only a connected server completes.
        (None, None) => Spoke::Client(read_more(raw, buffer).await?, None),
    })
}

/// The bytes that were read ahead.
pub(super) fn into_prefix(buffer: RefCell<BytesMut>) -> Bytes {
    buffer.into_inner().freeze()
}
