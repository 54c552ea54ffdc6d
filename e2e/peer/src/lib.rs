//! Programs of others that ours are held against: where they are, how they are started, asked and ended.
//!
//! `make peer-tools` fetches them. Every program writes its output to a file, ends with the handle that started it
//! and, should that never happen, by an alarm. Nothing here knows what is tested.

mod envoy;
pub mod http;
mod process;
mod program;

pub use envoy::{Admin, Envoy, Launch};
pub use process::{Process, free_port};
pub use program::{Program, find};
