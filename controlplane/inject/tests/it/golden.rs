//! Whole injected pods, reviewed as text.

use ironsail_inject::InjectorConfig;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{config, try_inject};

/// One input file.
#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    native: bool,
    /// Injector values instead of a default installation's.
    values: Option<Value>,
    pod: Value,
}

#[test]
fn pods() {
    insta::glob!("../golden/pods", "*.yaml", |path| {
        let text = std::fs::read_to_string(path).expect("readable");
        let case: Case = serde_yaml_ng::from_str(&text).expect("a case");
        let config = match case.values {
            Some(values) => InjectorConfig::parse(None, Some(&values.to_string())).expect("valid"),
            None => config(),
        };
        let shown = match try_inject(&case.pod, &config, case.native) {
            Ok(ironsail_inject::Outcome::Injected(injection)) => {
                json!({"pod": injection.pod, "warnings": injection.warnings})
            }
            Ok(ironsail_inject::Outcome::Skipped(reason)) => json!({"skipped": reason.as_str()}),
            Err(error) => json!({"error": error.to_string()}),
        };
        insta::assert_snapshot!(serde_yaml_ng::to_string(&shown).expect("serializes"));
    });
}
