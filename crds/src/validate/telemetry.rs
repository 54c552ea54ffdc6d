//! Rules of Telemetry.

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::telemetry::{
    AccessLogging, Metrics, MetricsOverrides, TagOperation, TelemetrySpec, Tracing,
};

use super::field::{Findings, child, items};
use super::target::Target;
use super::{cel, shared};

/// Everything that is wrong with a Telemetry.
#[must_use]
pub fn validate(object: &Value) -> Vec<Diagnostic> {
    let mut out = Findings::default();
    if let Some(spec) = super::decode::<TelemetrySpec>(object, &mut out) {
        check(&spec, &mut out);
    }
    out.into_vec()
}

fn check(spec: &TelemetrySpec, out: &mut Findings) {
    let target = Target {
        selector: spec.selector.as_ref(),
        target_ref: spec.target_ref.as_ref(),
        target_refs: &spec.target_refs,
    };
    target.check(out);
    if spec.tracing.len() > 1 {
        out.warn("spec.tracing", "only one entry has an effect");
    }
    for (path, tracing) in items("spec", "tracing", &spec.tracing) {
        check_tracing(tracing, &path, out);
    }
    for (path, metrics) in items("spec", "metrics", &spec.metrics) {
        check_metrics(metrics, &path, out);
    }
    for (path, logging) in items("spec", "accessLogging", &spec.access_logging) {
        check_logging(logging, &path, out);
    }
}

fn check_tracing(tracing: &Tracing, path: &str, out: &mut Findings) {
    if tracing.providers.len() > 1 {
        out.warn(child(path, "providers"), "only one provider has an effect");
    }
    let tags = child(path, "customTags");
    for (name, tag) in &tracing.custom_tags {
        let path = child(&tags, name);
        if name.is_empty() {
            out.error(path.clone(), "the name of a tag must not be empty");
        }
        let kinds = [
            tag.literal.is_some(),
            tag.environment.is_some(),
            tag.header.is_some(),
            tag.formatter.is_some(),
        ];
        if !kinds.contains(&true) {
            out.error(path, "must have literal, environment, header or formatter");
        }
    }
}

fn check_metrics(metrics: &Metrics, path: &str, out: &mut Findings) {
    for (path, change) in items(path, "overrides", &metrics.overrides) {
        check_override(change, &path, out);
    }
    shared::duration_ms(&metrics.reporting_interval, path, "reportingInterval", out);
}

fn check_override(change: &MetricsOverrides, path: &str, out: &mut Findings) {
    let tags = child(path, "tagOverrides");
    for (name, tag) in &change.tag_overrides {
        let path = child(&tags, name);
        if name.is_empty() {
            out.warn(path.clone(), "the name of a tag must not be empty");
        }
        let value = child(&path, "value");
        match (&tag.operation, tag.value.as_str()) {
            (TagOperation::Upsert, "") => out.error(value, "is required for UPSERT"),
            (TagOperation::Upsert, text) => out.check(value, cel::check(text)),
            (TagOperation::Remove, "") | (TagOperation::Unknown(_), _) => {}
            (TagOperation::Remove, _) => out.error(value, "can't be set for REMOVE"),
        }
    }
}

fn check_logging(logging: &AccessLogging, path: &str, out: &mut Findings) {
    if let Some(filter) = &logging.filter {
        let path = child(&child(path, "filter"), "expression");
        match filter.expression.as_str() {
            "" => out.error(path, "must not be empty"),
            text => out.check(path, cel::check(text)),
        }
    }
}
