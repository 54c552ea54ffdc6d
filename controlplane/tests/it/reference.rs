//! What a stock control plane sent for the same inputs, field by field.
//!
//! The captured files are not part of the project: `IRONSAIL_REFERENCE` names their folder, else
//! `shared/reference` beside the workspace is tried; without them the tests say so and pass.

use std::path::{Path, PathBuf};

use ironsail_controlplane::generate::{Cache, Resource};
use ironsail_xds::cluster::Cluster;
use ironsail_xds::discovery::DiscoveryResponse;
use ironsail_xds::endpoint::ClusterLoadAssignment;
use ironsail_xds::listener::Listener;
use ironsail_xds::route::RouteConfiguration;
use prost::{Message, Name};
use serde_json::{Value, json};

use crate::support::input::{self, Answers};
use crate::support::tree;

/// Differences that are meant, as the beginning of their path, each with its reason.
const MEANT: [(&str, &str); 0] = [];

fn folder() -> Option<PathBuf> {
    let own = std::env::var_os("IRONSAIL_REFERENCE").map(PathBuf::from);
    let here =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"));
    let beside = here
        .ancestors()
        .map(|folder| folder.join("shared/reference"));
    let found = own
        .into_iter()
        .chain(beside)
        .map(|folder| folder.join("xds"))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        eprintln!("skipped: no captured resources; set IRONSAIL_REFERENCE to their folder");
    }
    found
}

fn documents(folder: &Path) -> Vec<Value> {
    let read =
        |name: &str| std::fs::read_to_string(folder.join("inputs").join(name)).expect("an input");
    let mut documents = input::documents(&read("cluster.yaml"));
    let mesh = input::documents(&read("mesh.yaml"))
        .pop()
        .expect("a mesh configuration");
    documents.push(json!({"kind": "MeshConfig", "mesh": mesh}));
    documents
}

fn captured(folder: &Path, file: &str) -> DiscoveryResponse {
    let bytes = std::fs::read(folder.join(file)).expect("a captured response");
    DiscoveryResponse::decode(bytes.as_slice()).expect("a discovery response")
}

fn compare<M: Message + Name + Default>(
    folder: &Path,
    file: &str,
    name: impl Fn(M) -> String,
    ours: &[Resource],
    differences: &mut Vec<String>,
) {
    let response = captured(folder, file);
    let theirs = response.resources.iter().map(|any| {
        let message = M::decode(any.value.as_slice()).expect("a resource");
        (name(message), tree::decode::<M>(&any.value))
    });
    let ours = ours
        .iter()
        .map(|resource| (resource.name.to_string(), tree::decode::<M>(&resource.body)));
    tree::diff(
        &Value::Object(ours.collect()),
        &Value::Object(theirs.collect()),
        file.trim_end_matches(".pb"),
        differences,
    );
}

#[track_caller]
fn check(proxy: &str) {
    let Some(folder) = folder() else { return };
    let snapshot = input::snapshot(&documents(&folder));
    let folder = folder.join(proxy);
    let text = std::fs::read_to_string(folder.join("node.json")).expect("the captured node");
    let node = input::node(&serde_json::from_str(&text).expect("valid JSON"));
    let answers = Answers::new(&snapshot, &node, &Cache::default());
    let mut differences = Vec::new();
    compare(
        &folder,
        "clusters.pb",
        |m: Cluster| m.name,
        &answers.clusters,
        &mut differences,
    );
    let name = |m: ClusterLoadAssignment| m.cluster_name;
    compare(
        &folder,
        "endpoints.pb",
        name,
        &answers.endpoints,
        &mut differences,
    );
    compare(
        &folder,
        "listeners.pb",
        |m: Listener| m.name,
        &answers.listeners,
        &mut differences,
    );
    let name = |m: RouteConfiguration| m.name;
    compare(
        &folder,
        "routes.pb",
        name,
        &answers.routes,
        &mut differences,
    );
    differences.retain(|difference| !MEANT.iter().any(|(path, _)| difference.starts_with(path)));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_order(&folder, &answers.clusters);
}

/// Clusters come in the order of the peer.
#[track_caller]
fn assert_order(folder: &Path, clusters: &[Resource]) {
    let theirs: Vec<String> = captured(folder, "clusters.pb")
        .resources
        .iter()
        .map(|any| {
            Cluster::decode(any.value.as_slice())
                .expect("a cluster")
                .name
        })
        .collect();
    let ours: Vec<String> = clusters
        .iter()
        .map(|resource| resource.name.to_string())
        .collect();
    assert_eq!(ours, theirs);
}

#[test]
fn sidecar_of_bookinfo() {
    check("bookinfo-productpage-sidecar");
}

#[test]
fn gateway_of_bookinfo() {
    check("bookinfo-ingress-gateway");
}
