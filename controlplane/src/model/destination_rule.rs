//! DestinationRules: which one is for a client and a service, and what it says for a port and subset.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use ironsail_crds::DestinationRuleSpec;
use ironsail_crds::networking::destination_rule::{
    ClientTlsSettings, ConnectionPoolSettings, LoadBalancerSettings, OutlierDetection,
    PortTrafficPolicy, ProxyProtocol, RetryBudget, Subset, TrafficPolicy,
};
use ironsail_mesh::xds_name::ClusterName;

use crate::model::authentication::is_selected;
use crate::model::change::ConfigKey;
use crate::model::export::ExportTo;

/// A DestinationRule.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationRule {
    pub key: ConfigKey,
    pub created: i64,
    /// Fully qualified, lower case.
    pub host: String,
    /// `None`: as the mesh configuration says.
    pub export_to: Option<ExportTo>,
    pub spec: DestinationRuleSpec,
    pub generation: u64,
}

/// The rules of one namespace for one host, merged: the first policy, the union of the subsets.
#[derive(Clone, Debug, PartialEq)]
pub struct MergedRule {
    /// The oldest of the merged rules, which metadata names.
    pub key: ConfigKey,
    pub export_to: Option<ExportTo>,
    /// Labels of the client pods it is for; `None` is every client.
    pub selector: Option<BTreeMap<String, String>>,
    pub policy: Option<TrafficPolicy>,
    pub subsets: Vec<Subset>,
    /// When each of the merged rules took effect; equal lists of one key mean equal rules.
    pub generations: Vec<u64>,
}

impl MergedRule {
    fn new(rule: &DestinationRule) -> Self {
        Self {
            key: rule.key.clone(),
            export_to: rule.export_to.clone(),
            selector: rule
                .spec
                .workload_selector
                .as_ref()
                .map(|selector| selector.match_labels.clone()),
            policy: rule.spec.traffic_policy.clone(),
            subsets: rule.spec.subsets.clone(),
            generations: vec![rule.generation],
        }
    }

    fn add(&mut self, rule: &DestinationRule) {
        self.generations.push(rule.generation);
        if self.policy.is_none() {
            self.policy.clone_from(&rule.spec.traffic_policy);
        }
        for subset in &rule.spec.subsets {
            if self.subset(&subset.name).is_none() {
                self.subsets.push(subset.clone());
            }
        }
    }

    pub fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets.iter().find(|subset| subset.name == name)
    }

    /// The subset of a cluster and what holds for its port, by the cluster's name and the rule of its service. `None`
    /// when the name has a subset that no rule defines.
    pub fn of_cluster<'a>(
        rule: Option<&'a Self>,
        name: &ClusterName,
    ) -> Option<(Option<&'a Subset>, PortPolicy<'a>)> {
        let subset = match name.subset.as_str() {
            "" => None,
            subset => Some(rule?.subset(subset)?),
        };
        let policy = rule.map(|rule| rule.port_policy(name.port, subset));
        Some((subset, policy.unwrap_or_default()))
    }

    /// What holds for a port and a subset.
    pub fn port_policy<'a>(&'a self, port: u16, subset: Option<&'a Subset>) -> PortPolicy<'a> {
        let own = subset.and_then(|subset| subset.traffic_policy.as_ref());
        PortPolicy::new(self.policy.as_ref(), own, port)
    }
}

/// The parts of a policy that hold for one port of one subset.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortPolicy<'a> {
    pub load_balancer: Option<&'a LoadBalancerSettings>,
    pub connection_pool: Option<&'a ConnectionPoolSettings>,
    pub outlier_detection: Option<&'a OutlierDetection>,
    pub tls: Option<&'a ClientTlsSettings>,
    /// Not per port: that of the whole policy.
    pub proxy_protocol: Option<&'a ProxyProtocol>,
    /// Not per port: that of the whole policy.
    pub retry_budget: Option<&'a RetryBudget>,
}

impl<'a> PortPolicy<'a> {
    /// A policy for the port replaces the whole; the subset's wins over the rule's, part by part.
    fn new(rule: Option<&'a TrafficPolicy>, subset: Option<&'a TrafficPolicy>, port: u16) -> Self {
        let for_port = |policy: Option<&'a TrafficPolicy>| {
            policy?.port_level_settings.iter().find(|settings| {
                settings.port.as_ref().and_then(|selector| selector.number) == Some(u32::from(port))
            })
        };
        let policy = match (for_port(subset), for_port(rule)) {
            (Some(own), base) => Self::of_port(own).or(base.map(Self::of_port).unwrap_or_default()),
            (None, Some(base)) => subset
                .map(Self::of_whole)
                .unwrap_or_default()
                .or(Self::of_port(base)),
            (None, None) => subset
                .map(Self::of_whole)
                .unwrap_or_default()
                .or(rule.map(Self::of_whole).unwrap_or_default()),
        };
        let mut wholes = [subset, rule].into_iter().flatten();
        Self {
            proxy_protocol: wholes
                .clone()
                .find_map(|policy| policy.proxy_protocol.as_ref()),
            retry_budget: wholes.find_map(|policy| policy.retry_budget.as_ref()),
            ..policy
        }
    }

    fn of_whole(policy: &'a TrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
            ..Self::default()
        }
    }

    fn of_port(policy: &'a PortTrafficPolicy) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref(),
            ..Self::default()
        }
    }

    fn or(self, base: Self) -> Self {
        Self {
            load_balancer: self.load_balancer.or(base.load_balancer),
            connection_pool: self.connection_pool.or(base.connection_pool),
            outlier_detection: self.outlier_detection.or(base.outlier_detection),
            tls: self.tls.or(base.tls),
            ..Self::default()
        }
    }
}

/// Rules of one namespace.
#[derive(Clone, Debug, Default)]
struct NamespaceRules {
    exact: BTreeMap<String, Vec<Arc<MergedRule>>>,
    /// Hosts with `*`, the longest first.
    wildcard: BTreeMap<(Reverse<usize>, String), Vec<Arc<MergedRule>>>,
}

impl NamespaceRules {
    fn add(&mut self, rule: &DestinationRule) {
        let merged = match rule.host.starts_with('*') {
            false => self.exact.entry(rule.host.clone()).or_default(),
            true => {
                let key = (Reverse(rule.host.len()), rule.host.clone());
                self.wildcard.entry(key).or_default()
            }
        };
        let twin = merged.iter_mut().find(|known| {
            known.selector.is_none()
                && rule.spec.workload_selector.is_none()
                && known.export_to == rule.export_to
        });
        match twin {
            Some(twin) => Arc::make_mut(twin).add(rule),
            None => merged.push(Arc::new(MergedRule::new(rule))),
        }
    }

    /// The candidates of the most specific host.
    fn candidates(&self, host: &str) -> &[Arc<MergedRule>] {
        if let Some(rules) = self.exact.get(host) {
            return rules;
        }
        self.wildcard
            .iter()
            .find(|((_, pattern), _)| ironsail_mesh::host::matches(pattern, host))
            .map_or(&[], |(_, rules)| rules)
    }
}

/// Who asks for a rule.
#[derive(Clone, Copy, Debug)]
pub struct RuleClient<'a> {
    pub namespace: &'a str,
    pub labels: &'a BTreeMap<String, String>,
}

/// All DestinationRules.
#[derive(Clone, Debug)]
pub struct DestinationRuleIndex {
    namespaces: BTreeMap<Arc<str>, NamespaceRules>,
    default_export: ExportTo,
    /// Whether some rule is only for clients with certain labels.
    pub has_selectors: bool,
    /// When any of them last changed, in snapshots.
    pub generation: u64,
}

impl DestinationRuleIndex {
    pub fn new(
        rules: impl IntoIterator<Item = Arc<DestinationRule>>,
        default_export: ExportTo,
        generation: u64,
    ) -> Self {
        let mut ranked: Vec<_> = rules.into_iter().collect();
        ranked.sort_by(|a, b| {
            (a.created, &a.key.name, &a.key.namespace).cmp(&(
                b.created,
                &b.key.name,
                &b.key.namespace,
            ))
        });
        let mut index = Self {
            namespaces: BTreeMap::new(),
            default_export,
            has_selectors: false,
            generation,
        };
        for rule in &ranked {
            index.has_selectors |= rule.spec.workload_selector.is_some();
            index
                .namespaces
                .entry(rule.key.namespace.clone())
                .or_default()
                .add(rule);
        }
        index
    }

    /// The rule for calls of `client` to a service: of the client's namespace, else of the
    /// service's, else of the root namespace; in each, the one with the most specific host.
    pub fn lookup(
        &self,
        client: RuleClient<'_>,
        service_namespace: &str,
        host: &str,
        root_namespace: &str,
    ) -> Option<&Arc<MergedRule>> {
        [client.namespace, service_namespace, root_namespace]
            .into_iter()
            .find_map(|namespace| self.lookup_in(namespace, client, host))
    }

    fn lookup_in(
        &self,
        namespace: &str,
        client: RuleClient<'_>,
        host: &str,
    ) -> Option<&Arc<MergedRule>> {
        let candidates = self.namespaces.get(namespace)?.candidates(host);
        let visible = || {
            candidates.iter().filter(|rule| {
                rule.export_to
                    .as_ref()
                    .unwrap_or(&self.default_export)
                    .is_visible(namespace, client.namespace)
            })
        };
        // A rule with a selector is for pods of its own namespace.
        let selected = visible().find(|rule| {
            namespace == client.namespace
                && rule
                    .selector
                    .as_ref()
                    .is_some_and(|selector| is_selected(selector, client.labels))
        });
        selected.or_else(|| visible().find(|rule| rule.selector.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::ObjectKind;

    fn rule(namespace: &str, name: &str, host: &str, yaml: &str) -> Arc<DestinationRule> {
        let spec: DestinationRuleSpec = serde_yaml_ng::from_str(yaml).expect("a valid spec");
        Arc::new(DestinationRule {
            key: ConfigKey::new(ObjectKind::DestinationRule, namespace, name),
            created: 0,
            host: host.to_owned(),
            export_to: ExportTo::parse(spec.export_to.iter().map(String::as_str)),
            spec,
            generation: 1,
        })
    }

    const HOST: &str = "web.server.svc.cluster.local";

    #[track_caller]
    fn check(rules: Vec<Arc<DestinationRule>>, client: &str, app: &str, expected: Option<&str>) {
        let labels = [("app".to_owned(), app.to_owned())].into();
        let client = RuleClient {
            namespace: client,
            labels: &labels,
        };
        let index = DestinationRuleIndex::new(rules, ExportTo::everywhere(), 1);
        let found = index.lookup(client, "server", HOST, "root");
        assert_eq!(found.map(|rule| &*rule.key.name), expected);
    }

    #[test]
    fn clients_namespace_then_services_then_root() {
        let rules = || {
            vec![
                rule("client", "wide", "*.svc.cluster.local", "{}"),
                rule("server", "exact", HOST, "{}"),
                rule("root", "root", HOST, "{}"),
            ]
        };
        check(rules(), "client", "a", Some("wide"));
        check(rules(), "other", "a", Some("exact"));
        check(rules().split_off(2), "other", "a", Some("root"));
        check(Vec::new(), "other", "a", None);
    }

    #[test]
    fn export_and_selectors_narrow() {
        let private = || rule("server", "private", HOST, "{exportTo: ['.']}");
        check(vec![private()], "server", "a", Some("private"));
        check(vec![private()], "client", "a", None);
        let chosen = || {
            rule(
                "client",
                "chosen",
                HOST,
                "{workloadSelector: {matchLabels: {app: a}}}",
            )
        };
        let common = || rule("client", "common", HOST, "{}");
        check(vec![chosen(), common()], "client", "a", Some("chosen"));
        check(vec![chosen(), common()], "client", "b", Some("common"));
    }

    #[test]
    fn rules_of_one_host_merge_their_subsets() {
        let index = DestinationRuleIndex::new(
            [
                rule("server", "a", HOST, "{subsets: [{name: v1}, {name: v2}]}"),
                rule(
                    "server",
                    "b",
                    HOST,
                    "{trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}, subsets: [{name: v2}, {name: v3}]}",
                ),
            ],
            ExportTo::everywhere(),
            1,
        );
        let labels = BTreeMap::new();
        let client = RuleClient {
            namespace: "server",
            labels: &labels,
        };
        let merged = index
            .lookup(client, "server", HOST, "root")
            .expect("there is one");
        let names: Vec<_> = merged
            .subsets
            .iter()
            .map(|subset| subset.name.as_str())
            .collect();
        assert_eq!(names, ["v1", "v2", "v3"]);
        assert!(merged.policy.is_some());
    }

    #[test]
    fn ports_replace_and_subsets_overlay() {
        let spec: DestinationRuleSpec = serde_yaml_ng::from_str(
            "trafficPolicy:
  loadBalancer: {simple: RANDOM}
  outlierDetection: {interval: 1s}
  portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: ROUND_ROBIN}}]
subsets:
- {name: plain}
- {name: own, trafficPolicy: {outlierDetection: {interval: 2s}}}
",
        )
        .expect("a valid spec");
        let merged = MergedRule::new(&DestinationRule {
            spec,
            ..(*rule("a", "b", HOST, "{}")).clone()
        });
        let lb = |port, subset: Option<&str>| {
            let subset = subset.and_then(|name| merged.subset(name));
            let policy = merged.port_policy(port, subset);
            (
                policy
                    .load_balancer
                    .and_then(|lb| lb.simple.clone())
                    .map(|s| s.as_str().to_owned()),
                policy
                    .outlier_detection
                    .and_then(|o| o.interval.clone())
                    .map(|i| i.0),
            )
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(lb(8080, None), (some("RANDOM"), some("1s")));
        assert_eq!(lb(80, None), (some("ROUND_ROBIN"), None));
        assert_eq!(lb(8080, Some("own")), (some("RANDOM"), some("2s")));
        assert_eq!(lb(80, Some("plain")), (some("ROUND_ROBIN"), None));
    }
}
