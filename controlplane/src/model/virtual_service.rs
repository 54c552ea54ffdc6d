//! VirtualServices, with their names resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ironsail_crds::networking::virtual_service::{StringMatch, StringMatchKind};
use ironsail_crds::{Diagnostic, VirtualServiceSpec};
use ironsail_mesh::host::resolve_short_name;

use crate::model::change::ConfigKey;
use crate::model::delegate;
use crate::model::export::ExportTo;
use crate::model::object::ObjectKind;

/// The gateway name that means every sidecar.
pub const MESH_GATEWAY: &str = "mesh";

/// A VirtualService.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    pub key: ConfigKey,
    pub created: i64,
    /// Fully qualified, lower case, as far as they are services of Kubernetes.
    pub hosts: Vec<String>,
    /// `mesh` or `namespace/name`.
    pub gateways: Vec<String>,
    /// `None`: as the mesh configuration says.
    pub export_to: Option<ExportTo>,
    pub spec: VirtualServiceSpec,
    /// Expressions that do not compile: whatever contains one never matches.
    pub invalid_regexes: BTreeSet<String>,
    pub generation: u64,
}

impl VirtualService {
    pub fn new(
        key: ConfigKey,
        created: i64,
        spec: VirtualServiceSpec,
        domain: &str,
        generation: u64,
    ) -> (Self, Vec<Diagnostic>) {
        let (invalid_regexes, findings) = find_invalid_regexes(&spec);
        let namespace = &*key.namespace;
        let gateways = match spec.gateways.as_slice() {
            [] => vec![MESH_GATEWAY.to_owned()],
            names => names
                .iter()
                .map(|name| resolve_gateway(name, namespace))
                .collect(),
        };
        let service = Self {
            hosts: spec
                .hosts
                .iter()
                .map(|host| resolve_short_name(host, namespace, domain).to_ascii_lowercase())
                .collect(),
            gateways,
            export_to: ExportTo::parse(spec.export_to.iter().map(String::as_str)),
            spec,
            invalid_regexes,
            key,
            created,
            generation,
        };
        (service, findings)
    }

    /// Whether it is for sidecars.
    pub fn is_for_mesh(&self) -> bool {
        self.gateways.iter().any(|gateway| gateway == MESH_GATEWAY)
    }

    /// Whether some match asks for labels of the client.
    pub fn has_source_labels(&self) -> bool {
        let spec = &self.spec;
        spec.http
            .iter()
            .flat_map(|route| &route.matches)
            .any(|m| !m.source_labels.is_empty())
            || spec
                .tls
                .iter()
                .flat_map(|route| &route.matches)
                .any(|m| !m.source_labels.is_empty())
            || spec
                .tcp
                .iter()
                .flat_map(|route| &route.matches)
                .any(|m| !m.source_labels.is_empty())
    }

    /// Whether an expression of this object can be used.
    pub fn is_valid_regex(&self, expression: &str) -> bool {
        !self.invalid_regexes.contains(expression)
    }
}

/// A gateway named in a rule of `namespace`, as `mesh` or `namespace/name`.
///
/// `name`, `./name`, `namespace/name` and the old `name.namespace.svc.domain` are understood.
pub fn resolve_gateway(name: &str, namespace: &str) -> String {
    match name.split_once('/') {
        Some((".", name)) => format!("{namespace}/{name}"),
        Some(_) => name.to_owned(),
        None if name == MESH_GATEWAY => name.to_owned(),
        None => match name.split_once('.') {
            Some((short, rest)) => {
                let namespace = rest.split('.').next().unwrap_or(rest);
                format!("{namespace}/{short}")
            }
            None => format!("{namespace}/{name}"),
        },
    }
}

/// All regular expressions that do not compile, and where they stand.
fn find_invalid_regexes(spec: &VirtualServiceSpec) -> (BTreeSet<String>, Vec<Diagnostic>) {
    let mut invalid = BTreeSet::new();
    let mut findings = Vec::new();
    visit_regexes(spec, &mut |path, expression| {
        if let Err(error) = regex::Regex::new(expression) {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().to_owned();
            let message =
                format!("{expression:?} is no valid expression and never matches: {reason}");
            findings.push(Diagnostic::error(path, message));
            invalid.insert(expression.to_owned());
        }
    });
    (invalid, findings)
}

fn visit_regexes(spec: &VirtualServiceSpec, visit: &mut impl FnMut(String, &str)) {
    for (r, route) in spec.http.iter().enumerate() {
        for (m, condition) in route.matches.iter().enumerate() {
            let path = format!("spec.http[{r}].match[{m}]");
            let single = [
                ("uri", &condition.uri),
                ("scheme", &condition.scheme),
                ("method", &condition.method),
                ("authority", &condition.authority),
            ];
            for (name, value) in single {
                visit_match(value.as_ref(), || format!("{path}.{name}"), visit);
            }
            let maps = [
                ("headers", &condition.headers),
                ("withoutHeaders", &condition.without_headers),
                ("queryParams", &condition.query_params),
            ];
            for (name, map) in maps {
                for (key, value) in map {
                    visit_match(Some(value), || format!("{path}.{name}[{key}]"), visit);
                }
            }
        }
        if let Some(rewrite) = route
            .rewrite
            .as_ref()
            .and_then(|r| r.uri_regex_rewrite.as_ref())
        {
            visit(
                format!("spec.http[{r}].rewrite.uriRegexRewrite.match"),
                &rewrite.pattern,
            );
        }
        let origins = route
            .cors_policy
            .iter()
            .flat_map(|cors| &cors.allow_origins);
        for (o, origin) in origins.enumerate() {
            visit_match(
                Some(origin),
                || format!("spec.http[{r}].corsPolicy.allowOrigins[{o}]"),
                visit,
            );
        }
    }
}

fn visit_match(
    value: Option<&StringMatch>,
    path: impl FnOnce() -> String,
    visit: &mut impl FnMut(String, &str),
) {
    // `*` alone is no expression but the old form of "anything".
    if let Some(StringMatchKind::Regex(expression)) = value.map(StringMatch::kind)
        && expression != "*"
    {
        visit(format!("{}.regex", path()), expression);
    }
}

/// All VirtualServices, oldest first.
#[derive(Clone, Debug)]
pub struct VirtualServiceIndex {
    mesh: Vec<Arc<VirtualService>>,
    gateways: BTreeMap<String, Vec<Arc<VirtualService>>>,
    default_export: ExportTo,
    /// Whether some rule for sidecars asks for labels of the client.
    pub has_source_labels: bool,
    /// When any of them last changed, in snapshots.
    pub generation: u64,
}

impl VirtualServiceIndex {
    pub fn new(
        services: impl IntoIterator<Item = Arc<VirtualService>>,
        default_export: ExportTo,
        domain: &str,
        generation: u64,
    ) -> Self {
        let mut ranked: Vec<_> = services.into_iter().collect();
        ranked.sort_by(|a, b| {
            (a.created, &a.key.name, &a.key.namespace).cmp(&(
                b.created,
                &b.key.name,
                &b.key.namespace,
            ))
        });
        let mut index = Self {
            mesh: Vec::new(),
            gateways: BTreeMap::new(),
            default_export,
            has_source_labels: false,
            generation,
        };
        let delegates: BTreeMap<_, _> = ranked
            .iter()
            .filter(|service| service.hosts.is_empty())
            .map(|service| (service.key.clone(), service.clone()))
            .collect();
        let find = |namespace: &str, name: &str| {
            let key = ConfigKey::new(ObjectKind::VirtualService, namespace, name);
            delegates.get(&key).cloned()
        };
        for service in ranked {
            // Without hosts it is there for others to delegate to.
            if service.hosts.is_empty() {
                continue;
            }
            let service = match delegate::expand(&service, &index.default_export, domain, find) {
                Some(expanded) => Arc::new(expanded),
                None => service,
            };
            for gateway in &service.gateways {
                if gateway == MESH_GATEWAY {
                    index.has_source_labels |= service.has_source_labels();
                    index.mesh.push(service.clone());
                } else {
                    index
                        .gateways
                        .entry(gateway.clone())
                        .or_default()
                        .push(service.clone());
                }
            }
        }
        index
    }

    fn is_visible(&self, service: &VirtualService, client: &str) -> bool {
        service
            .export_to
            .as_ref()
            .unwrap_or(&self.default_export)
            .is_visible(&service.key.namespace, client)
    }

    /// Rules for sidecars of a namespace.
    pub fn for_mesh(&self, client: &str) -> impl Iterator<Item = &Arc<VirtualService>> {
        self.mesh
            .iter()
            .filter(move |service| self.is_visible(service, client))
    }

    /// Rules bound to a gateway, `namespace/name`, as far as gateway proxies of `client` see them.
    pub fn for_gateway(
        &self,
        gateway: &str,
        client: &str,
    ) -> impl Iterator<Item = &Arc<VirtualService>> {
        self.gateways
            .get(gateway)
            .into_iter()
            .flatten()
            .filter(move |service| self.is_visible(service, client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_qualified() {
        assert_eq!(resolve_gateway("mesh", "a"), "mesh");
        assert_eq!(resolve_gateway("gw", "a"), "a/gw");
        assert_eq!(resolve_gateway("./gw", "a"), "a/gw");
        assert_eq!(resolve_gateway("b/gw", "a"), "b/gw");
        assert_eq!(resolve_gateway("gw.b.svc.cluster.local", "a"), "b/gw");
    }

    #[test]
    fn bad_expressions_are_reported_with_their_path() {
        let spec = serde_yaml_ng::from_str(
            "{hosts: [a], http: [{match: [{uri: {regex: '('}}, {headers: {x: {regex: '*'}}}]}]}",
        )
        .expect("valid");
        let key = ConfigKey::new(ObjectKind::VirtualService, "ns", "vs");
        let (service, findings) = VirtualService::new(key, 0, spec, "cluster.local", 1);
        assert_eq!(service.hosts, ["a.ns.svc.cluster.local"]);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].path, "spec.http[0].match[0].uri.regex");
        assert!(!service.is_valid_regex("("));
    }
}
