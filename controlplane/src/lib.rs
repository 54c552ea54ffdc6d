//! Discovery, certificate authority and webhooks.

pub mod ca;
pub mod generate;
pub mod model;
pub mod registry;
