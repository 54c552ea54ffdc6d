//! Discovery, certificate authority and webhooks.

pub mod bootstrap;
pub mod ca;
pub mod config_store;
pub mod debug;
pub mod generate;
pub mod kube;
pub mod model;
pub mod push;
pub mod registry;
pub mod run;
pub mod server;
pub mod webhook;
pub mod xds;
