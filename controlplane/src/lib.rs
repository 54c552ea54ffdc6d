//! Discovery, certificate authority and webhooks.

pub mod ca;
pub mod generate;
pub mod kube;
pub mod model;
pub mod push;
pub mod registry;
pub mod webhook;
pub mod xds;
