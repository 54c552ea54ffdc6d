//! Listeners of one worker: their sockets, what they find out about connections, and how they come and go.
//!
//! An update keeps connections of chains that did not change and drains the others.

mod accept;
pub mod connection;
pub mod http_inspector;
mod original_dst;
pub mod proxy_protocol;
mod sniff;
#[cfg(test)]
mod tests;
pub mod tls_inspector;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::conn::Drain;
use crate::resource::listener::{FilterChain, ListenerConfig, TrafficDirection};
use crate::snapshot::{self, BoundSockets};
use crate::worker::Worker;

/// Which listeners are drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainScope {
    /// `drain_listeners?inboundonly`
    Inbound,
    All,
}

/// What draining does to new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainMode {
    /// They are accepted and asked to end soon.
    Graceful,
    /// They are not accepted any more.
    StopAccepting,
}

/// The listeners of one worker.
#[derive(Default)]
pub struct Listeners {
    by_name: RefCell<BTreeMap<Arc<str>, Rc<Listener>>>,
    by_address: RefCell<HashMap<SocketAddr, Rc<Listener>>>,
    acceptors: RefCell<Vec<Acceptor>>,
    draining: Cell<Option<(DrainScope, DrainMode)>>,
}

/// A listener on this worker.
#[derive(Debug)]
pub struct Listener {
    pub config: Arc<ListenerConfig>,
    /// By content of the chain.
    drains: HashMap<u128, Drain>,
}

/// The loop that accepts from one socket.
struct Acceptor {
    sockets: Arc<BoundSockets>,
    /// Who gets the connections; changes with updates.
    target: Rc<RefCell<Rc<Listener>>>,
    task: AbortHandle,
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listeners {
    /// Makes the listeners those of a snapshot. Connections of chains that are gone have `drain_time` to end.
    pub fn apply(
        &self,
        listeners: &BTreeMap<Arc<str>, snapshot::ActiveListener>,
        worker: &Rc<Worker>,
        drain_time: Duration,
    ) {
        let old = self.by_name.take();
        let mut new = BTreeMap::new();
        let mut by_address = HashMap::new();
        for (name, active) in listeners {
            let kept = old
                .get(name)
                .filter(|old| Arc::ptr_eq(&old.config, &active.config));
            let listener = match kept {
                Some(kept) => Rc::clone(kept),
                None => Rc::new(self.successor(&active.config, old.get(name))),
            };
            for address in &active.config.addresses {
                by_address.insert(*address, Rc::clone(&listener));
            }
            new.insert(Arc::clone(name), listener);
        }
        for (name, old) in &old {
            old.drain_all_but(new.get(name).map(|new| &**new), drain_time);
        }
        self.by_address.replace(by_address);
        self.accept(listeners, &new, worker);
        self.by_name.replace(new);
    }

    /// Starts draining, of listeners to come too.
    pub fn drain(&self, scope: DrainScope, mode: DrainMode) {
        self.draining.set(Some((scope, mode)));
        for listener in self.by_name.borrow().values() {
            if scope.covers(&listener.config) {
                for drain in listener.drains.values() {
                    drain.start();
                }
            }
        }
        if mode == DrainMode::StopAccepting {
            let mut acceptors = self.acceptors.borrow_mut();
            acceptors.retain(|acceptor| !scope.covers(&acceptor.target.borrow().config));
        }
    }

    /// Ends what is left of drained connections.
    pub fn expire(&self, scope: DrainScope) {
        for listener in self.by_name.borrow().values() {
            if scope.covers(&listener.config) {
                for drain in listener.drains.values() {
                    drain.expire();
                }
            }
        }
    }

    /// The listener for a restored destination: of exactly this address, else of this port on all addresses.
    pub fn for_destination(&self, destination: SocketAddr) -> Option<Rc<Listener>> {
        let listeners = self.by_address.borrow();
        let any: IpAddr = match destination {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let exact = listeners.get(&destination);
        exact
            .or_else(|| listeners.get(&SocketAddr::new(any, destination.port())))
            .cloned()
    }

    fn successor(&self, config: &Arc<ListenerConfig>, old: Option<&Rc<Listener>>) -> Listener {
        let old = old.filter(|old| old.config.base_hash == config.base_hash);
        let drains = config
            .all_chains()
            .map(|chain| {
                let kept = old.and_then(|old| old.drains.get(&chain.hash));
                (chain.hash, kept.cloned().unwrap_or_default())
            })
            .collect();
        let listener = Listener {
            config: Arc::clone(config),
            drains,
        };
        if self
            .draining
            .get()
            .is_some_and(|(scope, _)| scope.covers(config))
        {
            listener.drains.values().for_each(Drain::start);
        }
        listener
    }

    /// Keeps the loops of sockets that stay, starts those of new ones, ends the others.
    fn accept(
        &self,
        listeners: &BTreeMap<Arc<str>, snapshot::ActiveListener>,
        new: &BTreeMap<Arc<str>, Rc<Listener>>,
        worker: &Rc<Worker>,
    ) {
        let mut old = self.acceptors.take();
        let mut acceptors = Vec::with_capacity(old.len());
        for (name, active) in listeners {
            let Some(listener) = new.get(name) else {
                continue;
            };
            if self.refuses(&active.config) {
                continue;
            }
            for sockets in &active.sockets {
                let known = old.iter().position(|a| Arc::ptr_eq(&a.sockets, sockets));
                if let Some(index) = known {
                    let acceptor = old.swap_remove(index);
                    acceptor.target.replace(Rc::clone(listener));
                    acceptors.push(acceptor);
                } else {
                    acceptors.extend(start(sockets, listener, worker));
                }
            }
        }
        self.acceptors.replace(acceptors);
    }

    fn refuses(&self, config: &ListenerConfig) -> bool {
        matches!(self.draining.get(), Some((scope, DrainMode::StopAccepting)) if scope.covers(config))
    }
}

fn start(
    sockets: &Arc<BoundSockets>,
    listener: &Rc<Listener>,
    worker: &Rc<Worker>,
) -> Option<Acceptor> {
    let address = sockets.address;
    let socket = match sockets.listener(worker.id) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%address, worker = worker.id, %error, "Listener cannot accept connections");
            return None;
        }
    };
    let target = Rc::new(RefCell::new(Rc::clone(listener)));
    let accept = accept::run(socket, Rc::clone(&target), Rc::clone(worker));
    Some(Acceptor {
        sockets: Arc::clone(sockets),
        target,
        task: tokio::task::spawn_local(accept).abort_handle(),
    })
}

impl DrainScope {
    fn covers(self, listener: &ListenerConfig) -> bool {
        self == DrainScope::All || listener.direction == TrafficDirection::Inbound
    }
}

impl Listener {
    /// A listener without predecessor.
    pub fn new(config: Arc<ListenerConfig>) -> Self {
        let chains = config.all_chains();
        let drains = chains.map(|chain| (chain.hash, Drain::new())).collect();
        Self { config, drains }
    }

    /// The switch that ends connections of a chain.
    pub fn drain_of(&self, chain: &FilterChain) -> Drain {
        self.drains.get(&chain.hash).cloned().unwrap_or_default()
    }

    /// Drains the chains that `successor` did not take over.
    fn drain_all_but(&self, successor: Option<&Listener>, drain_time: Duration) {
        let kept = successor.filter(|new| new.config.base_hash == self.config.base_hash);
        let gone: Vec<Drain> = self
            .drains
            .iter()
            .filter(|(hash, _)| !kept.is_some_and(|new| new.drains.contains_key(hash)))
            .map(|(_, drain)| drain.clone())
            .collect();
        if gone.is_empty() {
            return;
        }
        gone.iter().for_each(Drain::start);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(drain_time).await;
            gone.iter().for_each(Drain::expire);
        });
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.by_name.borrow().keys())
            .finish()
    }
}
