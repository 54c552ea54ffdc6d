//! The way of one connection: destination, first bytes, filter chain, transport, network filters.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};

use super::Listener;
use super::proxy_protocol;
use super::sniff::{Findings, Outcome, SilentChain, into_prefix, sniff};
use crate::conn::{
    Connection, ConnectionInfo, Io, Prefixed, Raw, ReadAhead, TlsInfo, TransportProtocol,
};
use crate::filter_chain::Criteria;
use crate::network::TcpSession;
use crate::network::tcp_proxy::{self, Dialled};
use crate::resource::listener::{FilterChain, ListenerConfig, ListenerFilterKind, Terminal};
use crate::resource::transport_socket::DownstreamSocket;
use crate::worker::{ConnectionCount, Worker};

/// For a header of the PROXY protocol, where listener filters have no limit.
const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(15);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A connection as it was accepted.
#[derive(Debug)]
pub struct Incoming {
    pub raw: Raw,
    pub remote: SocketAddr,
    pub direct_local: SocketAddr,
    /// Destination from before redirection.
    pub restored: Option<SocketAddr>,
}

/// Takes a connection through its listener and serves it until it ends.
pub async fn handle(incoming: Incoming, listener: Rc<Listener>, worker: Rc<Worker>) {
    // On the heap as long as it lasts: most connections are long past their arrival.
    let ready = Box::pin(arrive(incoming, listener, &worker)).await;
    if let Some(ready) = ready {
        ready.serve(worker).await;
    }
}

/// Runs listener filters and the handshake; `None`: the connection is closed.
async fn arrive(incoming: Incoming, listener: Rc<Listener>, worker: &Rc<Worker>) -> Option<Ready> {
    let listener = hand_over(&incoming, listener, worker);
    let mut start = Start {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        local: incoming.restored.unwrap_or(incoming.direct_local),
        direct_local: incoming.direct_local,
        remote: incoming.remote,
        direct_remote: incoming.remote,
        at: Instant::now(),
        time: SystemTime::now(),
    };
    let mut raw = incoming.raw;
    let buffer = RefCell::new(BytesMut::new());
    if !take_header(&mut raw, &buffer, &mut start, &listener.config, worker).await {
        Io::Plain(Prefixed::new(raw)).reset();
        return None;
    }
    let outcome = look(&mut raw, &buffer, &start, &listener, worker).await;
    let prefix = into_prefix(buffer);
    match outcome {
        Some(Seen::Client(findings, early)) => {
            let config = Arc::clone(&listener.config);
            let Some(chain) = find_chain(&start, &findings, &config) else {
                refuse(raw, start, &findings, &listener, worker);
                return None;
            };
            let early = early.filter(|early| Arc::ptr_eq(&early.chain, chain));
            let early = early.map(|early| early.dialled);
            let arrived = Arrived::new(raw, prefix, start, findings, &listener);
            arrived.secure(chain, early, worker).await
        }
        Some(Seen::Server(chain, dialled)) => {
            let arrived = Arrived::new(raw, prefix, start, Findings::default(), &listener);
            arrived.secure(&chain, Some(dialled), worker).await
        }
        None => {
            Io::Plain(Prefixed::new(raw)).reset();
            None
        }
    }
}

/// Takes a header of the PROXY protocol, where there is to be one. False: close.
async fn take_header(
    raw: &mut Raw,
    buffer: &RefCell<BytesMut>,
    start: &mut Start,
    listener: &ListenerConfig,
    worker: &Worker,
) -> bool {
    let Some(config) = listener.proxy_protocol_at(start.local) else {
        return true;
    };
    let limit = listener.filters_timeout.unwrap_or(DEFAULT_HEADER_TIMEOUT);
    let reading = proxy_protocol::read(raw, buffer, config);
    let error = match tokio::time::timeout(limit, reading).await {
        Ok(Ok(proxied)) => {
            if let Some(proxied) = proxied {
                start.remote = proxied.source;
                start.local = proxied.destination;
            }
            return true;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no PROXY protocol header in time".to_owned(),
    };
    tracing::debug!(listener = %listener.name, peer = %start.direct_remote, error, "Connection refused");
    worker.count_proxy_protocol_error(listener);
    false
}

/// The listener that serves the connection: that of its destination, if listeners are to look for it.
fn hand_over(incoming: &Incoming, listener: Rc<Listener>, worker: &Worker) -> Rc<Listener> {
    if !listener.config.use_original_dst {
        return listener;
    }
    let destination = incoming.restored.filter(|d| *d != incoming.direct_local);
    destination
        .and_then(|destination| worker.listeners.for_destination(destination))
        .unwrap_or(listener)
}

/// What is known about a connection before anything was read.
#[derive(Clone, Copy)]
struct Start {
    id: u64,
    local: SocketAddr,
    direct_local: SocketAddr,
    remote: SocketAddr,
    direct_remote: SocketAddr,
    at: Instant,
    time: SystemTime,
}

enum Seen {
    Client(Findings, Option<Early>),
    Server(Arc<FilterChain>, Dialled),
}

/// A server that was connected while the client was silent, and the chain it belongs to.
struct Early {
    chain: Arc<FilterChain>,
    dialled: Dialled,
}

/// Runs the listener filters; `None`: close.
async fn look(
    raw: &mut Raw,
    buffer: &RefCell<BytesMut>,
    start: &Start,
    listener: &Listener,
    worker: &Worker,
) -> Option<Seen> {
    let config = &listener.config;
    let filters: Vec<ListenerFilterKind> = config
        .filters
        .iter()
        .filter(|filter| {
            !filter
                .disabled
                .as_ref()
                .is_some_and(|d| d.matches(start.local))
        })
        .map(|filter| filter.kind)
        .filter(|kind| *kind != ListenerFilterKind::OriginalDst)
        .collect();
    if filters.is_empty() {
        return Some(Seen::Client(Findings::default(), None));
    }
    let silent_chain = silent_chain(start, config);
    let silent_info = start.info(&Findings::default(), listener, None, None);
    let silent = silent_chain
        .as_ref()
        .and_then(|chain| match &chain.terminal {
            Terminal::TcpProxy(config) => Some(SilentChain {
                config,
                info: &silent_info,
                worker,
            }),
            Terminal::Http(_) => None,
        });
    let sniffing = sniff(raw, buffer, &filters, silent);
    let outcome = match config.filters_timeout {
        None => sniffing.await,
        Some(limit) => match tokio::time::timeout(limit, sniffing).await {
            Ok(outcome) => outcome,
            Err(_) if config.continue_on_timeout => Ok(Outcome::Client(Findings::default(), None)),
            Err(_) => Ok(Outcome::Refused("listener_filters_timeout")),
        },
    };
    match (outcome, silent_chain) {
        (Ok(Outcome::Client(findings, dialled)), chain) => {
            let early = dialled.zip(chain);
            let early = early.map(|(dialled, chain)| Early { chain, dialled });
            Some(Seen::Client(findings, early))
        }
        (Ok(Outcome::Server(dialled)), Some(chain)) => Some(Seen::Server(chain, dialled)),
        (Ok(Outcome::Server(_)), None) => None,
        (Ok(Outcome::Refused(reason)), _) => {
            tracing::debug!(listener = %config.name, reason, "Connection refused by listener filters");
            None
        }
        (Err(error), _) => {
            tracing::debug!(listener = %config.name, %error, "Connection ended in listener filters");
            None
        }
    }
}

/// The chain of clients that say nothing, if it can be served without their saying anything.
fn silent_chain(start: &Start, config: &ListenerConfig) -> Option<Arc<FilterChain>> {
    let chain = find_chain(start, &Findings::default(), config)?;
    let raw = matches!(chain.transport, DownstreamSocket::Raw);
    let tcp = matches!(chain.terminal, Terminal::TcpProxy(_));
    (raw && tcp).then(|| Arc::clone(chain))
}

fn find_chain<'a>(
    start: &Start,
    findings: &Findings,
    config: &'a ListenerConfig,
) -> Option<&'a Arc<FilterChain>> {
    let criteria = Criteria {
        destination: start.local,
        server_name: findings.server_name.as_deref().unwrap_or_default(),
        transport: findings.transport,
        application_protocols: &findings.application_protocols,
        direct_source: start.direct_remote.ip(),
        source: start.remote,
    };
    let index = config.matcher.find(&criteria);
    index
        .and_then(|index| config.chains.get(index))
        .or(config.default_chain.as_ref())
}

/// No filter chain: the connection is reset, and the listener's access log tells.
fn refuse(raw: Raw, start: Start, findings: &Findings, listener: &Listener, worker: &Worker) {
    let info = Rc::new(start.info(findings, listener, None, None));
    let mut session = TcpSession::new(info);
    session.flags = "NR";
    session.termination = Some("filter_chain_not_found");
    for log in &listener.config.access_log {
        log.log_tcp(&session, worker);
    }
    worker.count_no_filter_chain_match(&listener.config);
    Io::Plain(Prefixed::new(raw)).reset();
}

impl Start {
    fn info(
        &self,
        findings: &Findings,
        listener: &Listener,
        chain: Option<&FilterChain>,
        tls: Option<TlsInfo>,
    ) -> ConnectionInfo {
        let sni = findings.server_name.as_deref().map(Arc::from);
        ConnectionInfo {
            id: self.id,
            local: self.local,
            direct_local: self.direct_local,
            remote: self.remote,
            direct_remote: self.direct_remote,
            transport: findings.transport,
            server_name: sni.or_else(|| tls.as_ref().and_then(|tls| tls.server_name.clone())),
            tls,
            listener: Arc::clone(&listener.config),
            filter_chain_name: chain.map_or_else(|| Arc::from(""), |chain| Arc::clone(&chain.name)),
            start: self.at,
            start_time: self.time,
            drain: chain
                .map(|chain| listener.drain_of(chain))
                .unwrap_or_default(),
        }
    }
}

/// A connection whose chain is known.
struct Arrived<'a> {
    stream: Prefixed,
    start: Start,
    findings: Findings,
    listener: &'a Listener,
}

impl<'a> Arrived<'a> {
    fn new(
        raw: Raw,
        prefix: Bytes,
        start: Start,
        findings: Findings,
        listener: &'a Listener,
    ) -> Self {
        Self {
            stream: Prefixed::with_prefix(raw, prefix),
            start,
            findings,
            listener,
        }
    }

    async fn secure(
        self,
        chain: &Arc<FilterChain>,
        early: Option<Dialled>,
        worker: &Worker,
    ) -> Option<Ready> {
        let counted = worker.count_connection(&self.listener.config);
        let (io, tls) = secure(self.stream, &chain.transport, worker, self.listener).await?;
        let mut findings = self.findings;
        if tls.is_some() {
            findings.transport = TransportProtocol::Tls;
        }
        let info = Rc::new(self.start.info(&findings, self.listener, Some(chain), tls));
        Some(Ready {
            connection: Connection { io, info },
            chain: Arc::clone(chain),
            early: early.map(Box::new),
            _counted: counted,
        })
    }
}

/// A connection that its filter chain can serve.
struct Ready {
    connection: Connection,
    chain: Arc<FilterChain>,
    early: Option<Box<Dialled>>,
    _counted: ConnectionCount,
}

impl Ready {
    /// Small, for connections that wait: what TCP needs beyond HTTP is on the heap.
    async fn serve(self, worker: Rc<Worker>) {
        let Self {
            connection, chain, ..
        } = self;
        match &chain.terminal {
            Terminal::TcpProxy(config) => {
                let drain = connection.info.drain.clone();
                let early = self.early.map(|early| *early);
                let serving = tcp_proxy::serve(connection, &chain, config, &worker, early);
                tokio::select! {
                    biased;
                    () = Box::pin(serving) => {}
                    () = drain.expired() => {}
                }
            }
            // Ends by itself when the time for draining is over.
            Terminal::Http(manager) => {
                let manager = Arc::clone(manager);
                crate::http::serve(connection, manager, worker).await;
            }
        }
    }
}

/// Ends TLS, where the chain has it. `None`: the handshake failed, and the connection is closed.
async fn secure(
    stream: Prefixed,
    transport: &DownstreamSocket,
    worker: &Worker,
    listener: &Listener,
) -> Option<(Io, Option<TlsInfo>)> {
    let DownstreamSocket::Tls { context, timeout } = transport else {
        return Some((Io::Plain(stream), None));
    };
    let secrets = worker.clusters.secrets();
    let handshake = context.accept(ReadAhead::new(stream), &secrets);
    let limit = if timeout.is_zero() {
        Duration::MAX
    } else {
        *timeout
    };
    let config = &listener.config;
    let listener = &config.name;
    match tokio::time::timeout(limit, handshake).await {
        Ok(Ok((stream, info))) => Some((Io::ServerTls(Box::new(stream)), Some(info))),
        Ok(Err(error)) => {
            tracing::debug!(%listener, %error, "TLS handshake failed");
            worker.count_tls_error(config);
            None
        }
        Err(_) => {
            tracing::debug!(%listener, "TLS handshake took too long");
            worker.count_tls_error(config);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_wait_are_small() {
        fn size<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(handle);
        assert!(bytes <= 1200, "{bytes}");
    }
}
