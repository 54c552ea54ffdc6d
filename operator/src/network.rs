//! Network plugins of the cluster that a mesh does not work with as they are set: Cilium and Calico
//! in eBPF. They are only read, and only warned of; what can't be read is not warned of.
//!
//! <https://docs.cilium.io/en/stable/network/servicemesh/istio/>,
//! <https://docs.tigera.io/calico/latest/reference/resources/felixconfig>

use std::collections::BTreeMap;
use std::time::Duration;

use ironsail_crds::Diagnostic;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;
use tokio::time::Instant;

use crate::component::Component;
use crate::plan::Plan;
use crate::value::{get, is_true, text};

const CILIUM: (&str, &str) = ("kube-system", "cilium-config");
const CALICO: &str = "calico-node";
/// Where Calico is, by its manifests and by its operator.
const CALICO_NAMESPACES: [&str; 2] = ["kube-system", "calico-system"];
/// Time after which something that was warned of is looked at again.
const AGAIN: Duration = Duration::from_secs(600);

/// Settings of the network plugins of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The ConfigMap of Cilium.
    cilium: BTreeMap<String, String>,
    /// Whether Calico picks endpoints when a program connects.
    calico_balances: bool,
}

impl Network {
    /// Reads what may be read.
    pub async fn look(client: &Client) -> Self {
        let (namespace, name) = CILIUM;
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let cilium = maps.get_opt(name).await.ok().flatten();
        let mut network = Self {
            cilium: cilium.and_then(|map| map.data).unwrap_or_default(),
            calico_balances: false,
        };
        for namespace in CALICO_NAMESPACES {
            let sets: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
            if let Ok(Some(set)) = sets.get_opt(CALICO).await {
                let environment = environment(&set);
                let felix = felix(client).await;
                network.calico_balances |= balances(&felix.unwrap_or_default(), &environment);
            }
        }
        network
    }

    /// What of it the components of a mesh don't work with.
    pub fn warnings(&self, components: &[Component]) -> Vec<Diagnostic> {
        let is = |key: &str, value: &str| self.cilium.get(key).is_some_and(|own| own == value);
        let replaces_proxy = ["true", "strict"]
            .iter()
            .any(|value| is("kube-proxy-replacement", value));
        let in_sockets = is("bpf-lb-sock", "true") || replaces_proxy;
        let rows = [
            (
                Component::Cni,
                is("cni-exclusive", "true"),
                "spec.components.cni: Cilium removes other plugins from the nodes; set cni-exclusive to \
                 \"false\" in ConfigMap kube-system/cilium-config",
            ),
            (
                Component::Pilot,
                in_sockets && !is("bpf-lb-sock-hostns-only", "true"),
                "spec.components.pilot: Cilium picks endpoints before proxies see a connection; set \
                 bpf-lb-sock-hostns-only to \"true\" in ConfigMap kube-system/cilium-config",
            ),
            (
                Component::Ztunnel,
                is("enable-bpf-masquerade", "true"),
                "spec.components.ztunnel: Cilium masquerades the probes of pods of the mesh; set \
                 enable-bpf-masquerade to \"false\" in ConfigMap kube-system/cilium-config",
            ),
            (
                Component::Pilot,
                self.calico_balances,
                "spec.components.pilot: Calico picks endpoints before proxies see a connection; set \
                 bpfConnectTimeLoadBalancing to Disabled in FelixConfiguration default",
            ),
        ];
        rows.into_iter()
            .filter(|(component, holds, _)| *holds && components.contains(component))
            .filter_map(|(_, _, line)| line.split_once(": "))
            .map(|(path, message)| Diagnostic::warning(path, message))
            .collect()
    }
}

/// Variables of the first container.
fn environment(set: &DaemonSet) -> BTreeMap<String, String> {
    let pod = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let container = pod.and_then(|pod| pod.containers.first());
    let variables = container
        .into_iter()
        .flat_map(|own| own.env.iter().flatten());
    variables
        .map(|own| (own.name.clone(), own.value.clone().unwrap_or_default()))
        .collect()
}

/// The settings of all nodes; the operator has no right to read them, users of the command line may
/// have it.
async fn felix(client: &Client) -> Option<Value> {
    let kind = GroupVersionKind::gvk("crd.projectcalico.org", "v1", "FelixConfiguration");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
    Some(api.get_opt("default").await.ok()??.data)
}

/// Whether Calico balances when a program connects: in eBPF only, and there by default. Variables
/// win over the resource.
fn balances(felix: &Value, environment: &BTreeMap<String, String>) -> bool {
    let variable = |name: &str| environment.get(name).map(String::as_str);
    let in_ebpf = match variable("FELIX_BPFENABLED") {
        Some(value) => value.eq_ignore_ascii_case("true"),
        None => is_true(felix, &["spec", "bpfEnabled"]),
    };
    let is_off = variable("FELIX_BPFCONNECTTIMELOADBALANCINGENABLED") == Some("false")
        || get(felix, &["spec", "bpfConnectTimeLoadBalancingEnabled"]) == Some(&Value::Bool(false));
    let mode = variable("FELIX_BPFCONNECTTIMELOADBALANCING")
        .or_else(|| text(felix, &["spec", "bpfConnectTimeLoadBalancing"]));
    in_ebpf && !is_off && !mode.is_some_and(|mode| mode.eq_ignore_ascii_case("Disabled"))
}

/// What was last warned of. The cluster is looked at once for each spec, and again only while there
/// is something to warn of.
#[derive(Debug, Default)]
pub struct Memo {
    looked: Option<(String, Instant)>,
    warnings: Vec<Diagnostic>,
}

impl Memo {
    /// What a plan does not work with in the cluster.
    pub async fn warnings(&mut self, client: &Client, plan: &Plan) -> &[Diagnostic] {
        let is_known = self.looked.as_ref().is_some_and(|(spec, at)| {
            *spec == plan.spec_hash && (self.warnings.is_empty() || at.elapsed() < AGAIN)
        });
        if !is_known {
            self.warnings = Network::look(client).await.warnings(&plan.components);
            self.looked = Some((plan.spec_hash.clone(), Instant::now()));
        }
        &self.warnings
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::FakeServer;

    const ALL: [Component; 3] = [Component::Cni, Component::Pilot, Component::Ztunnel];

    fn cilium(data: Value) -> FakeServer {
        let server = FakeServer::default();
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "cilium-config", "namespace": "kube-system"}, "data": data});
        server.put("/api/v1/namespaces/kube-system/configmaps", map);
        server
    }

    fn calico(namespace: &str, env: Value, felix: Option<Value>) -> FakeServer {
        let server = FakeServer::default();
        let pod = json!({"containers": [{"name": "calico-node", "env": env}]});
        let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "calico-node", "namespace": namespace},
            "spec": {"selector": {}, "template": {"spec": pod}}});
        let sets = format!("/apis/apps/v1/namespaces/{namespace}/daemonsets");
        server.put(&sets, set);
        if let Some(spec) = felix {
            let felix = json!({"apiVersion": "crd.projectcalico.org/v1", "kind": "FelixConfiguration",
                "metadata": {"name": "default"}, "spec": spec});
            server.put("/apis/crd.projectcalico.org/v1/felixconfigurations", felix);
        }
        server
    }

    async fn warned(server: &FakeServer, components: &[Component]) -> Vec<String> {
        let network = Network::look(&server.client()).await;
        let warnings = network.warnings(components);
        warnings.into_iter().map(|w| w.path).collect()
    }

    #[tokio::test]
    async fn settings_of_cilium() {
        let rows = [
            (json!({}), vec![]),
            (
                json!({"cni-exclusive": "true"}),
                vec!["spec.components.cni"],
            ),
            (json!({"cni-exclusive": "false"}), vec![]),
            (
                json!({"bpf-lb-sock": "true"}),
                vec!["spec.components.pilot"],
            ),
            (
                json!({"kube-proxy-replacement": "strict"}),
                vec!["spec.components.pilot"],
            ),
            (
                json!({"bpf-lb-sock": "true", "bpf-lb-sock-hostns-only": "true"}),
                vec![],
            ),
            (
                json!({"enable-bpf-masquerade": "true"}),
                vec!["spec.components.ztunnel"],
            ),
        ];
        for (data, expected) in rows {
            assert_eq!(
                warned(&cilium(data.clone()), &ALL).await,
                expected,
                "{data}"
            );
            assert_eq!(warned(&cilium(data), &[]).await, Vec::<String>::new());
        }
    }

    #[tokio::test]
    async fn settings_of_calico() {
        let on = json!([{"name": "FELIX_BPFENABLED", "value": "true"}]);
        let off = json!([{"name": "FELIX_BPFENABLED", "value": "true"},
            {"name": "FELIX_BPFCONNECTTIMELOADBALANCING", "value": "Disabled"}]);
        let rows = [
            ("kube-system", json!([]), None, false),
            ("kube-system", on.clone(), None, true),
            ("calico-system", off, None, false),
            (
                "calico-system",
                json!([]),
                Some(json!({"bpfEnabled": true})),
                true,
            ),
            (
                "calico-system",
                on.clone(),
                Some(json!({"bpfConnectTimeLoadBalancing": "Disabled"})),
                false,
            ),
            (
                "calico-system",
                on.clone(),
                Some(json!({"bpfConnectTimeLoadBalancing": "TCP"})),
                true,
            ),
            (
                "calico-system",
                on,
                Some(json!({"bpfConnectTimeLoadBalancingEnabled": false})),
                false,
            ),
        ];
        for (namespace, env, felix, expected) in rows {
            let server = calico(namespace, env.clone(), felix.clone());
            let found = !warned(&server, &ALL).await.is_empty();
            assert_eq!(found, expected, "{env} {felix:?}");
        }
    }

    #[tokio::test]
    async fn what_may_not_be_read_is_not_warned_of() {
        let server = cilium(json!({"cni-exclusive": "true"}));
        server.refuse(http::Method::GET, "/configmaps", 403);
        assert_eq!(warned(&server, &ALL).await, Vec::<String>::new());
    }
}
