use serde_json::Value;

use crate::diagnostic::Diagnostic;

pub(crate) fn validate(_object: &Value) -> Vec<Diagnostic> {
    Vec::new()
}
