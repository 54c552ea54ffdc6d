//! Injects one pod: reads `{pod, config, values, mesh, native}` as JSON from standard input and prints the pod, so that
//! other implementations of injection can be compared with this one.

use std::collections::BTreeMap;

use ironsail_inject::{InjectorConfig, Outcome, Params, inject};
use ironsail_mesh::mesh_config::MeshConfig;
use ironsail_mesh::revision::Revision;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    pod: Value,
    /// Keys of ConfigMap `istio-sidecar-injector`.
    config: String,
    values: String,
    /// Key `mesh` of ConfigMap `istio`.
    mesh: String,
    revision: String,
    native: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let case: Case = serde_json::from_reader(std::io::stdin().lock())?;
    let config = InjectorConfig::parse(Some(&case.config), Some(&case.values))?;
    let mesh: MeshConfig = serde_yaml_ng::from_str(&case.mesh)?;
    let revision = Revision::parse(&case.revision)?;
    let outcome = inject(&Params {
        pod: &case.pod,
        namespace: case.pod["metadata"]["namespace"]
            .as_str()
            .unwrap_or("default"),
        config: &config,
        mesh: &mesh,
        revision: &revision,
        native_sidecars: case.native,
        owner: None,
        env: &BTreeMap::new(),
    })?;
    match outcome {
        Outcome::Injected(injection) => println!("{}", injection.pod),
        Outcome::Skipped(reason) => return Err(format!("not injected: {reason}").into()),
    }
    Ok(())
}
