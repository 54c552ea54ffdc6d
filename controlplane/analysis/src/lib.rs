//! Validation of configuration as the webhook, the CLI and the status report it; pure.

pub mod admission;

use ironsail_crds::{Diagnostic, Kind};
use serde_json::Value;

pub use admission::{GroupVersionKind, Verdict, admit};

/// Everything that is wrong with an object of a kind, and what its author should know.
#[must_use]
pub fn validate(kind: &Kind, object: &Value) -> Vec<Diagnostic> {
    kind.validate(object)
}
