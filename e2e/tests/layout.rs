//! Which crate may depend on which: the table of docs/architecture.md.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Crate, and what it may depend on inside the workspace. A new edge is a decision: change docs and table together.
const ALLOWED: &[(&str, &[&str])] = &[
    ("mesh", &[]),
    ("xds", &[]),
    ("runtime", &["mesh"]),
    ("kube", &["runtime"]),
    ("crds", &["mesh"]),
    ("inject", &["mesh"]),
    ("analysis", &["crds", "mesh"]),
    ("proxy", &["mesh", "xds", "runtime"]),
    (
        "controlplane",
        &[
            "mesh", "xds", "runtime", "kube", "crds", "inject", "analysis",
        ],
    ),
    ("operator", &["mesh", "runtime", "kube", "crds"]),
    (
        "cli",
        &[
            "operator", "crds", "inject", "analysis", "mesh", "xds", "kube", "runtime",
        ],
    ),
    ("apps", &["runtime"]),
    ("peer", &["xds"]),
];

/// Tests and tools at the edge may use anything, and nothing may use them.
const EDGE: &[&str] = &["e2e", "sim", "bench", "clients", "oracle", "wire", "fuzz"];

#[test]
fn crates_depend_only_as_the_architecture_says() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let short = |name: &str| name.strip_prefix("ironsail-").map(str::to_owned);
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"]
            .as_str()
            .and_then(short)
            .expect("all are named ironsail-…");
        if EDGE.contains(&name.as_str()) {
            continue;
        }
        let Some(allowed) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} is not in the table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().and_then(short);
            if let Some(target) = target.filter(|target| !allowed.contains(&target.as_str())) {
                wrong.push(format!("{name} -> {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
