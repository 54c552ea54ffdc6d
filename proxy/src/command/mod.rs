//! Commands of `pilot-agent`, with the peer's names and flags.

mod arguments;
mod client;
pub mod request;
pub mod wait;

pub use arguments::{Command, HELP, Usage, parse};
