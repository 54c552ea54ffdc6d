//! Configuration that must pass: our samples, and what the peer was captured with.

use std::fs;
use std::path::Path;

use ironsail_crds::Kind;
use serde::Deserialize as _;
use serde_json::Value;

use crate::{reference, workspace};

/// Validates every object of a known kind in a file; returns how many there were.
#[track_caller]
fn check(path: &Path) -> usize {
    let text = fs::read_to_string(path).expect("the file can be read");
    let mut count = 0;
    for document in serde_yaml_ng::Deserializer::from_str(&text) {
        let object = Value::deserialize(document).expect("the file is YAML");
        let field = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let group = field("apiVersion").split('/').next().unwrap_or_default();
        let Some(kind) = Kind::find(group, field("kind")) else {
            continue;
        };
        count += 1;
        let findings = kind.validate(&object);
        assert_eq!(
            findings,
            [],
            "{} in {}",
            object["metadata"]["name"],
            path.display()
        );
    }
    count
}

#[test]
fn samples_are_valid() {
    let folder = workspace().join("deploy/samples");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("deploy/samples exists") {
        count += check(&entry.expect("the folder can be read").path());
    }
    assert!(count > 0, "no sample has a kind of ours");
}

#[test]
fn captured_inputs_are_valid() {
    let Some(path) = reference("xds/inputs/cluster.yaml") else {
        return;
    };
    assert!(check(&path) > 0, "the captured inputs have kinds of ours");
}
