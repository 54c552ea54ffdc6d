//! Names into addresses, and addresses into connections; never through the C library.
//!
//! A static binary cannot load the C library's name service modules, so `getaddrinfo` must not be called: every
//! client of every program (Kubernetes, gRPC, plain HTTP) connects through [`Connector`].

mod connector;
mod resolver;

pub use connector::{ConnectError, Connector, TlsConnector, UnixConnector, connect_tcp};
pub use resolver::{ResolveError, Resolver};
