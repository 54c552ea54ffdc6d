//! Validation of configuration as the webhook, the CLI and the status report it; pure.
//!
//! [`admission`] answers for the webhook, [`document`] for files; both judge a kind by the same
//! functions: the rules of `crds`, and [`effect`] for what would be stored in vain.

pub mod admission;
pub mod document;
pub mod effect;
pub mod kubernetes;

use ironsail_crds::{Diagnostic, Kind};
use serde_json::Value;

pub use admission::{GroupVersionKind, Verdict, admit};

/// Everything that is wrong with an object of a kind, and what its author should know.
fn admit_kind(kind: &Kind, object: &Value) -> Vec<Diagnostic> {
    let mut found = kind.validate(object);
    found.extend(effect::check(kind, object));
    found
}
