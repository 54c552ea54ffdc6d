//! Injection of whole pods.

mod golden;
mod idempotence;
mod reference;
mod support;
