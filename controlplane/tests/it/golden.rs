//! Golden files: objects and a proxy in `tests/golden/<topic>/<case>.yaml`, and what the proxy gets.
//!
//! The document of kind `Proxy` says what to show: `clusters`, `endpoints`, `listeners`, `routes`,
//! `secrets` or `names`, each by resource name, or `chains`, the listeners in short. The document of
//! kind `Findings`, if there, asks for what is reported.

use std::fmt::Write as _;

use insta::{assert_snapshot, glob};
use ironsail_controlplane::generate::{self, Cache, Resource, SecretAccess};
use ironsail_controlplane::model::proxy::Proxy;
use ironsail_controlplane::model::snapshot::Snapshot;
use ironsail_xds::cluster::Cluster;
use ironsail_xds::endpoint::ClusterLoadAssignment;
use ironsail_xds::ext::transport_sockets::tls::v3::Secret;
use ironsail_xds::istio::NameTable;
use ironsail_xds::listener::Listener;
use ironsail_xds::route::RouteConfiguration;
use serde_json::Value;

use crate::support::chains;
use crate::support::input;
use crate::support::tree;

#[test]
fn golden() {
    glob!("../golden", "*/*.yaml", |path| {
        let text = std::fs::read_to_string(path).expect("a readable file");
        assert_snapshot!(show(&text));
    });
}

fn show(text: &str) -> String {
    let documents = input::documents(text);
    let snapshot = input::snapshot(&documents);
    let mut output = String::new();
    for document in &documents {
        match document["kind"].as_str() {
            Some("Proxy") => show_proxy(&snapshot, document, &mut output),
            Some("Findings") => {
                for (key, findings) in &*snapshot.findings {
                    for finding in &**findings {
                        let _ = writeln!(output, "{key}: {finding}");
                    }
                }
            }
            _ => {}
        }
    }
    output
}

fn show_proxy(snapshot: &Snapshot, document: &Value, output: &mut String) {
    let node = input::node(document);
    let proxy = Proxy::new(node, snapshot);
    let cache = Cache::default();
    for (what, wanted) in document["show"].as_object().expect("what to show") {
        let names: Vec<&str> = wanted
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let _ = writeln!(
            output,
            "# {what} of {}",
            document["id"].as_str().unwrap_or_default()
        );
        match what.as_str() {
            "clusters" => {
                let clusters = match proxy.is_grpc() {
                    true => generate::grpc::clusters(snapshot, &proxy, &cache, &names),
                    false => generate::clusters(snapshot, &proxy, &cache),
                };
                show_named::<Cluster>(&clusters, &names, output);
            }
            "listeners" => {
                let listeners = match proxy.is_grpc() {
                    true => generate::grpc::listeners(snapshot, &proxy, &names),
                    false => generate::listeners(snapshot, &proxy, &cache),
                };
                show_named::<Listener>(&listeners, &names, output);
            }
            "chains" => {
                let listeners = generate::listeners(snapshot, &proxy, &cache);
                for listener in pick(&listeners, &names) {
                    output.push_str(&chains::describe(&listener.body));
                }
            }
            "endpoints" => {
                let endpoints = generate::endpoints(snapshot, &proxy, &cache, &names);
                show_named::<ClusterLoadAssignment>(&endpoints, &names, output);
            }
            "routes" => {
                let routes = generate::routes(snapshot, &proxy, &cache, &names);
                show_named::<RouteConfiguration>(&routes, &names, output);
            }
            "secrets" => {
                let secrets =
                    generate::secrets(snapshot, &proxy, SecretAccess::OwnNamespace, &names);
                show_named::<Secret>(&secrets, &names, output);
                let denied = generate::secrets(snapshot, &proxy, SecretAccess::Denied, &names);
                assert!(denied.is_empty(), "secrets without access");
            }
            "names" => {
                let table = generate::name_table(snapshot, &proxy, &cache);
                for resource in &table {
                    output.push_str(&tree::yaml(&tree::decode::<NameTable>(&resource.body)));
                }
            }
            other => panic!("{other} cannot be shown"),
        }
    }
}

/// The named resources in the order they were made; without names all of them.
fn pick<'a>(resources: &'a [Resource], names: &[&str]) -> Vec<&'a Resource> {
    let is_wanted = |resource: &&Resource| names.is_empty() || names.contains(&&*resource.name);
    resources.iter().filter(is_wanted).collect()
}

fn show_named<M: prost::Name>(resources: &[Resource], names: &[&str], output: &mut String) {
    for name in names {
        if !resources.iter().any(|resource| &&*resource.name == name) {
            let _ = writeln!(output, "{name}: absent");
        }
    }
    for resource in pick(resources, names) {
        let _ = writeln!(output, "---");
        output.push_str(&tree::yaml(&tree::decode::<M>(&resource.body)));
    }
}
