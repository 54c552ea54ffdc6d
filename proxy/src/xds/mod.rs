//! The ADS client and what it hands on.
//!
//! [`Subscriptions`] knows the protocol and does no I/O; [`run`] keeps a stream to the control plane open and moves
//! messages between the two and a [`Sink`].

#[cfg(test)]
mod captured;
mod client;
pub mod sink;
pub mod subscription;

#[cfg(test)]
mod testing;

pub use client::{
    ClientConfig, ClientStatus, ConfigError, Credentials, Roots, Transport, Updates, run,
};
pub use sink::{Rejected, Resource, Sink, Update, Wanted};
pub use subscription::{Kind, Pending, Protocol, Request, Response, Subscriptions};
