//! Reconciles IstioOperator resources: `profile → merge → component → render → overlay → plan →
//! apply → prune → status`.
//!
//! [`render`] is pure and shared with the command line; everything from [`controller`] on talks to
//! an API server.

pub mod adopt;
pub mod apply;
pub mod bundle;
pub mod component;
pub mod conflict;
pub mod controller;
pub mod count;
pub mod delete;
pub mod events;
pub mod finalizer;
pub mod health;
pub mod install;
pub mod judge;
pub mod keep;
pub mod list_merge;
pub mod metrics;
pub mod namespace;
pub mod network;
pub mod object;
pub mod observe;
pub mod overlay;
pub mod plan;
pub mod profile;
pub mod reconcile;
pub mod render;
pub mod revision;
pub mod rollout;
pub mod server;
pub mod settings;
pub mod setup;
pub mod share;
pub mod status;
pub mod tag;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod uninstall;
pub mod value;
pub mod values;
pub mod verify;
pub mod webhook;
pub mod yaml;

pub use render::{Context, Rendered, render, render_object, render_unchecked};
