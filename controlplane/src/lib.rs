//! Discovery, certificate authority and webhooks.

pub mod generate;
pub mod model;
pub mod registry;
