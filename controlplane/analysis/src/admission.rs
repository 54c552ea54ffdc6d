//! The answer to an admission request.

use ironsail_crds::{Diagnostic, Kind};
use serde_json::Value;

use crate::admit_kind;

/// Errors named in a message; the rest is counted.
const MAX_NAMED: usize = 20;

/// The kind that a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupVersionKind<'a> {
    /// Such as `networking.istio.io`.
    pub group: &'a str,
    /// Such as `v1`; not looked at, because all versions of a kind are alike.
    pub version: &'a str,
    /// Such as `VirtualService`.
    pub kind: &'a str,
}

/// Whether an object may be stored, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is refused; empty if it may be stored.
    pub errors: Vec<Diagnostic>,
    /// What its author should know.
    pub warnings: Vec<Diagnostic>,
}

impl Verdict {
    /// Whether the object may be stored.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.errors.is_empty()
    }

    /// The message of a refusal: `configuration is invalid: <error>; <error>`.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        if self.allowed() {
            return None;
        }
        let mut parts: Vec<String> = self
            .errors
            .iter()
            .take(MAX_NAMED)
            .map(ToString::to_string)
            .collect();
        let more = self.errors.len().saturating_sub(MAX_NAMED);
        if more > 0 {
            parts.push(format!("and {more} more"));
        }
        Some(format!("configuration is invalid: {}", parts.join("; ")))
    }

    /// Warnings as an admission response has them.
    #[must_use]
    pub fn warning_texts(&self) -> Vec<String> {
        self.warnings.iter().map(ToString::to_string).collect()
    }

    fn of(diagnostics: Vec<Diagnostic>) -> Self {
        let (errors, warnings) = diagnostics.into_iter().partition(Diagnostic::is_error);
        Self { errors, warnings }
    }
}

/// Decides whether an object may be created or updated.
///
/// Kinds that this version doesn't act upon pass with a warning, but not those that protect
/// workloads: to store them would promise a protection that isn't there. An object that is being
/// deleted always passes, or its finalizers could not be removed.
#[must_use]
pub fn admit(gvk: GroupVersionKind<'_>, object: &Value) -> Verdict {
    let GroupVersionKind { group, kind, .. } = gvk;
    let deleted = object.pointer("/metadata/deletionTimestamp");
    if deleted.is_some_and(|time| !time.is_null()) {
        return Verdict::default();
    }
    Verdict::of(match Kind::find(group, kind) {
        Some(known) => admit_kind(known, object),
        None => vec![Diagnostic::error(
            "",
            format!("unrecognized type {group}/{kind}"),
        )],
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(group: &str, kind: &str, spec: Value, message: Option<&str>, warnings: &[&str]) {
        let object = json!({ "kind": kind, "metadata": { "name": "a" }, "spec": spec });
        let gvk = GroupVersionKind {
            group,
            version: "v1",
            kind,
        };
        let verdict = admit(gvk, &object);
        assert_eq!(verdict.message().as_deref(), message);
        assert_eq!(verdict.warning_texts(), warnings);
        assert_eq!(verdict.allowed(), message.is_none());
    }

    #[test]
    fn known_kinds_are_validated() {
        let group = "networking.istio.io";
        let to = json!([{ "destination": { "host": "a" } }]);
        check(
            group,
            "VirtualService",
            json!({ "hosts": ["a"], "http": [{ "route": to }] }),
            None,
            &[],
        );
        check(
            group,
            "VirtualService",
            json!({ "hosts": ["-"], "http": [{ "name": "a" }] }),
            Some(
                "configuration is invalid: spec.hosts[0]: host \"-\" is no DNS name: \"-\" is no \
                 label of one; spec.http[0]: must have route, redirect, directResponse or delegate",
            ),
            &[],
        );
        check(
            group,
            "VirtualService",
            json!({ "hosts": ["a"], "http": [{ "route": to, "mirrorPercent": 5 }] }),
            None,
            &["spec.http[0].mirrorPercent: is deprecated, use mirrorPercentage"],
        );
    }

    #[test]
    fn other_kinds_have_an_answer() {
        check(
            "networking.istio.io",
            "Sidecar",
            json!({ "egress": [{ "hosts": ["./*"] }] }),
            None,
            &["Sidecar is not supported by this version and has no effect"],
        );
        check(
            "security.istio.io",
            "AuthorizationPolicy",
            json!({}),
            Some(
                "configuration is invalid: AuthorizationPolicy is not supported by this version \
                 and would not be enforced",
            ),
            &[],
        );
        check(
            "networking.istio.io",
            "Sidekick",
            json!({}),
            Some("configuration is invalid: unrecognized type networking.istio.io/Sidekick"),
            &[],
        );
    }

    #[test]
    fn deletion_is_not_held_up() {
        let object = json!({
            "kind": "VirtualService",
            "metadata": { "name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "spec": {},
        });
        let gvk = GroupVersionKind {
            group: "networking.istio.io",
            version: "v1",
            kind: "VirtualService",
        };
        assert!(admit(gvk, &object).allowed());
    }

    #[test]
    fn long_messages_are_cut() {
        let hosts: Vec<String> = (0..30).map(|n| format!("-{n}")).collect();
        let object = json!({ "kind": "VirtualService", "spec": { "hosts": hosts } });
        let gvk = GroupVersionKind {
            group: "networking.istio.io",
            version: "v1",
            kind: "VirtualService",
        };
        let verdict = admit(gvk, &object);
        assert_eq!(verdict.errors.len(), 31);
        let message = verdict.message().expect("is refused");
        assert!(message.ends_with("; and 11 more"), "{message}");
    }
}
