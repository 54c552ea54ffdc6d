//! Host names and addresses for DNS capture.

use std::collections::BTreeMap;

use ironsail_xds::istio::{NameInfo, NameTable};

use crate::generate::{Cache, Resource};
use crate::model::proxy::Proxy;
use crate::model::service::Service;
use crate::model::snapshot::Snapshot;

/// The table of a proxy's namespace: virtual addresses, or those of the ready pods of headless
/// services, which also have names of their own.
pub fn generate(snapshot: &Snapshot, proxy: &Proxy, cache: &Cache) -> Vec<Resource> {
    let inputs = (
        snapshot.services.generation,
        snapshot.headless_generation,
        snapshot.mesh.generation,
    );
    let made = cache.get(("name_table", proxy.namespace()), inputs, || {
        let mut table = BTreeMap::new();
        for service in snapshot.services.visible(proxy.namespace()) {
            add(&mut table, service, snapshot);
        }
        vec![Resource::encode("", &NameTable { table })]
    });
    made.to_vec()
}

fn add(table: &mut BTreeMap<String, NameInfo>, service: &Service, snapshot: &Snapshot) {
    let mut ips: Vec<String> = service.addresses.iter().map(ToString::to_string).collect();
    if service.is_headless() {
        ips = pods(table, service, snapshot);
    }
    if !ips.is_empty() {
        table.insert(service.host.to_string(), info(service, &service.name, ips));
    }
}

fn info(service: &Service, short_name: &str, ips: Vec<String>) -> NameInfo {
    NameInfo {
        ips,
        registry: "Kubernetes".to_owned(),
        shortname: short_name.to_owned(),
        namespace: service.namespace.to_string(),
        alt_hosts: Vec::new(),
    }
}

/// Adds the names of single pods, and returns the addresses of all.
fn pods(
    table: &mut BTreeMap<String, NameInfo>,
    service: &Service,
    snapshot: &Snapshot,
) -> Vec<String> {
    let mut ips = Vec::new();
    let Some(endpoints) = snapshot.endpoints_of(service) else {
        return ips;
    };
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.is_ready) {
        let ip = endpoint.address.to_string();
        if ips.contains(&ip) {
            continue;
        }
        let pod = endpoint.workload.as_ref().and_then(|pod| {
            let is_below = pod.subdomain.as_deref() == Some(&*service.name);
            pod.hostname.as_ref().filter(|_| is_below)
        });
        if let Some(hostname) = pod {
            let short_name = format!("{hostname}.{}", service.name);
            let info = info(service, &short_name, vec![ip.clone()]);
            table.insert(format!("{hostname}.{}", service.host), info);
        }
        ips.push(ip);
    }
    ips
}
