//! Reconciles IstioOperator resources: `profile → merge → component → render → overlay → plan →
//! apply → prune → status`.
//!
//! [`render`] is pure and shared with the command line; everything from [`controller`] on talks to
//! an API server.

pub mod component;
pub mod object;
pub mod overlay;
pub mod profile;
pub mod render;
pub mod settings;
pub mod strict;
pub mod value;
pub mod values;

pub use render::{Context, Rendered, render};
