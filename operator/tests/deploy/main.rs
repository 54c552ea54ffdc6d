//! What lies in `deploy`: the ways to install the operator agree, and monitoring asks for what there is.
//!
//! Tests that need a tool which the machine lacks say so and pass, unless `REQUIRE_TOOLS=1`; `make deploy-tools`
//! brings the tools.

mod chart;
mod kustomize;
mod monitoring;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize as _;
use serde_json::Value;

/// The folder `deploy` of this checkout.
fn deploy() -> PathBuf {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate");
    Path::new(&root)
        .join("../deploy")
        .canonicalize()
        .expect("the folder")
}

/// A tool of the machine, or of our cache.
fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("HOME").unwrap_or_default();
    let cache = std::env::var_os("CACHE")
        .map_or_else(|| Path::new(&home).join(".cache/ironsail"), PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain([cache.join("bin")])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        let required = std::env::var_os("REQUIRE_TOOLS").is_some_and(|text| text == "1");
        assert!(!required, "{name} is not installed: make deploy-tools");
        eprintln!("skipped: {name} is not installed; make deploy-tools brings it");
    }
    found
}

fn run<S: AsRef<OsStr>>(tool: &Path, arguments: impl IntoIterator<Item = S>) -> Output {
    let mut command = Command::new(tool);
    command.args(arguments).current_dir(deploy());
    command.output().expect("the tool runs")
}

#[track_caller]
fn succeed(output: Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Kind, namespace and name.
type Key = (String, String, String);

/// The objects of a manifest.
fn objects(text: &str) -> BTreeMap<Key, Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).expect("YAML"));
    documents
        .filter(|document| !document.is_null())
        .map(|document| {
            let text = |pointer: &str| {
                let value = document.pointer(pointer).and_then(Value::as_str);
                value.unwrap_or_default().to_owned()
            };
            let key = (
                text("/kind"),
                text("/metadata/namespace"),
                text("/metadata/name"),
            );
            (key, document)
        })
        .collect()
}

/// The objects of `operator.yaml`.
fn manifest() -> BTreeMap<Key, Value> {
    objects(&ironsail_operator::bundle::manifest(
        &ironsail_operator::Context::default(),
    ))
}

#[track_caller]
fn check_same(found: &BTreeMap<Key, Value>, expected: &BTreeMap<Key, Value>) {
    let keys = |objects: &BTreeMap<Key, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(found), keys(expected));
    for (key, object) in expected {
        // Not with assert_eq: a definition has thousands of lines.
        assert!(
            &found[key] == object,
            "{key:?} differs:\n{}\n{}",
            head(&found[key]),
            head(object)
        );
    }
}

fn head(object: &Value) -> String {
    object.to_string().chars().take(4000).collect()
}
