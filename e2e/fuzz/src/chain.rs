//! A whole proxy in memory, between a client and a server that are bytes.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ironsail_proxy::resource::Switches;
use ironsail_proxy::snapshot::{Store, StoreOptions};
use ironsail_proxy::testing::memory::{Arrival, Proxy, stream};
use ironsail_proxy::worker::LocalNode;
use ironsail_proxy::xds::{Resource, Sink, Update};
use prost::{Message, Name};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::config;

/// Longer than any pause of the proxy's own; the clock is paused, so that it costs nothing.
const SILENCE: Duration = Duration::from_secs(5);

/// What the other ends saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub client: Vec<u8>,
    /// Bytes of each connection to the server.
    pub server: Vec<Vec<u8>>,
}

/// Sends `request` from a client; the server behind the proxy answers each piece that it reads with `response`.
pub fn run(request: &[u8], response: &[u8]) -> Seen {
    run_with(Switches::default(), request, response)
}

/// The same through a proxy whose user asked for something.
pub fn run_with(switches: Switches, request: &[u8], response: &[u8]) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, exchange(switches, request, response))
}

async fn exchange(switches: Switches, request: &[u8], response: &[u8]) -> Seen {
    let connections: Rc<RefCell<Vec<Rc<RefCell<Vec<u8>>>>>> = Rc::default();
    let (opened, response) = (Rc::clone(&connections), Rc::<[u8]>::from(response));
    let mut proxy = Proxy::new(LocalNode::default(), move |_| {
        let (near, far) = stream();
        let seen: Rc<RefCell<Vec<u8>>> = Rc::default();
        opened.borrow_mut().push(Rc::clone(&seen));
        tokio::task::spawn_local(serve(far, seen, Rc::clone(&response)));
        Ok(near)
    });
    proxy.store = Store::new(StoreOptions {
        switches,
        ..StoreOptions::default()
    });
    for update in [update(&config::cluster()), update(&config::listener())] {
        let rejected = proxy.store.apply(update);
        assert!(rejected.is_empty(), "{rejected:?}");
    }
    proxy.apply();
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let arrival = Arrival {
        at: address("10.0.0.1:80"),
        remote: address("10.0.0.9:4000"),
        destination: None,
    };
    let mut client = proxy.connect(arrival).expect("the listener is there");
    // The proxy may have closed before it read everything.
    let _ = timeout(SILENCE, client.write_all(request)).await;
    let mut seen = Vec::new();
    while let Ok(Ok(1..)) = timeout(SILENCE, client.read_buf(&mut seen)).await {}
    let connections = connections.borrow();
    Seen {
        client: seen,
        server: connections
            .iter()
            .map(|seen| seen.borrow().clone())
            .collect(),
    }
}

async fn serve(mut io: DuplexStream, seen: Rc<RefCell<Vec<u8>>>, response: Rc<[u8]>) {
    let mut piece = Vec::new();
    while let Ok(1..) = io.read_buf(&mut piece).await {
        seen.borrow_mut().append(&mut piece);
        if io.write_all(&response).await.is_err() {
            return;
        }
    }
}

fn update<T: Message + Name>((name, resource): &(&str, T)) -> Update {
    Update {
        type_url: T::type_url(),
        added: vec![Resource {
            name: (*name).to_owned(),
            version: "1".to_owned(),
            body: resource.encode_to_vec().into(),
            type_url: T::type_url(),
        }],
        removed: Vec::new(),
        full: true,
    }
}
