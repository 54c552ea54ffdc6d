//! What the network does: redirection in pods, addresses of services, delivery.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use ironsail_mesh::node::NodeType;
use ironsail_proxy::testing::memory::{self, Arrival};
use tokio::io::DuplexStream;

use crate::app::{self, Apps, Place};
use crate::pod::Pod;

/// Where redirection sends what leaves a pod, and what enters it.
const OUTBOUND: u16 = 15001;
const INBOUND: u16 = 15006;
/// Ports of the proxy itself, which are not redirected.
const EXCLUDED: [u16; 3] = [15020, 15021, 15090];
/// A client that is in no pod.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
/// First port of clients.
const FIRST_PORT: u16 = 32768;

/// Who opens a connection.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// Nobody in the cluster.
    Outside,
    /// The application of the pod with this address.
    Application(IpAddr),
    /// The proxy of that pod, which is not redirected.
    Proxy(IpAddr),
}

/// Which listener of which workload took a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub workload: String,
    pub listener: String,
}

/// All pods, and how they reach each other.
#[derive(Default)]
pub struct Network {
    pods: RefCell<BTreeMap<IpAddr, Rc<Pod>>>,
    services: RefCell<BTreeMap<SocketAddr, Vec<SocketAddr>>>,
    servers: RefCell<BTreeMap<SocketAddr, String>>,
    /// By the client's end of the connection.
    entries: RefCell<BTreeMap<SocketAddr, Entry>>,
    opened: Cell<u16>,
    pub apps: Rc<Apps>,
}

impl Network {
    pub fn add(&self, pod: Pod) {
        self.pods.borrow_mut().insert(pod.address, Rc::new(pod));
    }

    /// Takes a pod off the network.
    pub fn remove(&self, namespace: &str, name: &str) {
        let mut pods = self.pods.borrow_mut();
        pods.retain(|_, pod| {
            let gone = pod.namespace == namespace && pod.name == name;
            if gone {
                pod.kill();
            }
            !gone
        });
    }

    pub fn pods(&self) -> Vec<Rc<Pod>> {
        self.pods.borrow().values().cloned().collect()
    }

    /// A server outside the cluster.
    pub fn add_server(&self, address: SocketAddr, name: &str) {
        self.servers.borrow_mut().insert(address, name.to_owned());
    }

    /// Where connections to addresses of services go.
    pub fn set_services(&self, services: BTreeMap<SocketAddr, Vec<SocketAddr>>) {
        self.services.replace(services);
    }

    /// Who took the connection of a client.
    pub fn entry(&self, client: SocketAddr) -> Option<Entry> {
        self.entries.borrow().get(&client).cloned()
    }

    /// Opens a connection and returns the client's end.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(&self, from: Origin, to: SocketAddr) -> io::Result<DuplexStream> {
        let client = SocketAddr::new(from.address(), self.next_port());
        let own = self.pod(client.ip());
        match (from, &own) {
            (Origin::Application(_), Some(pod)) if pod.proxy.is_some() => {
                self.enter(pod, client, to, OUTBOUND)
            }
            (Origin::Proxy(address), own) if address == to.ip() => self.serve(own.as_deref(), to),
            _ => self.deliver(client, self.translate(to)?),
        }
    }

    fn pod(&self, address: IpAddr) -> Option<Rc<Pod>> {
        self.pods.borrow().get(&address).cloned()
    }

    fn next_port(&self) -> u16 {
        let port = self.opened.get();
        self.opened
            .set(port.wrapping_add(1) % (u16::MAX - FIRST_PORT));
        FIRST_PORT + port
    }

    /// An endpoint, if the address is a service's.
    fn translate(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        let services = self.services.borrow();
        let Some(endpoints) = services.get(&to) else {
            return Ok(to);
        };
        let turn = usize::from(self.opened.get());
        let chosen = endpoints.get(turn % endpoints.len().max(1));
        chosen
            .copied()
            .ok_or(io::ErrorKind::ConnectionRefused.into())
    }

    fn deliver(&self, client: SocketAddr, to: SocketAddr) -> io::Result<DuplexStream> {
        let pod = self.pod(to.ip());
        let role = pod.as_ref().and_then(|pod| Some(pod.proxy.as_ref()?.role));
        match (&pod, role) {
            (Some(pod), Some(NodeType::Router)) => self.enter(pod, client, to, to.port()),
            (Some(pod), Some(_)) if !EXCLUDED.contains(&to.port()) => {
                self.enter(pod, client, to, INBOUND)
            }
            _ => self.serve(pod.as_deref(), to),
        }
    }

    /// Hands a connection to the proxy of a pod, which takes it at a port.
    fn enter(
        &self,
        pod: &Pod,
        client: SocketAddr,
        to: SocketAddr,
        port: u16,
    ) -> io::Result<DuplexStream> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let proxy = pod.proxy.as_ref().ok_or_else(refused)?;
        let at = SocketAddr::new(pod.address, port);
        let is_redirected = at != to;
        let arrival = Arrival {
            at,
            remote: client,
            destination: is_redirected.then_some(to),
        };
        let stream = proxy.memory.connect(arrival).ok_or_else(refused)?;
        let listeners = &proxy.memory.worker.listeners;
        let handed_over = (port == OUTBOUND)
            .then(|| listeners.for_destination(to))
            .flatten();
        let listener = handed_over.or_else(|| listeners.for_destination(at));
        let entry = Entry {
            workload: pod.workload.clone(),
            listener: listener
                .map(|l| l.config.name.to_string())
                .unwrap_or_default(),
        };
        self.entries.borrow_mut().insert(client, entry);
        Ok(stream)
    }

    /// Connects to an application, or to a server outside.
    fn serve(&self, pod: Option<&Pod>, to: SocketAddr) -> io::Result<DuplexStream> {
        let ending = pod.map(|pod| pod.ending.subscribe());
        if ending.as_ref().is_some_and(|ending| *ending.borrow()) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let workload = match pod {
            Some(pod) => pod.ports.contains(&to.port()).then(|| pod.workload.clone()),
            None => self.servers.borrow().get(&to).cloned(),
        };
        let workload = workload.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far) = memory::stream();
        let place = Place {
            workload,
            port: to.port(),
        };
        tokio::task::spawn_local(app::serve(far, place, Rc::clone(&self.apps), ending));
        Ok(near)
    }
}

impl Origin {
    fn address(self) -> IpAddr {
        match self {
            Origin::Outside => OUTSIDE,
            Origin::Application(address) | Origin::Proxy(address) => address,
        }
    }
}
