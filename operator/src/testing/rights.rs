//! Authorization of the fake server: role-based, as far as the operator meets it.

use http::{Method, StatusCode};
use serde_json::Value;

use super::State;

/// What a request asks for.
struct Attributes<'a> {
    verb: &'static str,
    group: &'a str,
    resource: String,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> Attributes<'a> {
    fn of(method: &Method, path: &'a str) -> Self {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = match segments.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            other => panic!("{other:?} is no path of an API"),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (resource, name) = match rest {
            [resource] => ((*resource).to_owned(), ""),
            [resource, name] => ((*resource).to_owned(), *name),
            [resource, name, subresource] => (format!("{resource}/{subresource}"), *name),
            other => panic!("{other:?} is no resource"),
        };
        let verb = match (method, name) {
            (&Method::GET, "") => "list",
            (&Method::GET, _) => "get",
            (&Method::PATCH, _) => "patch",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::DELETE, _) => "delete",
            (method, _) => panic!("{method} is not expected"),
        };
        Self {
            verb,
            group,
            resource,
            namespace,
            name,
        }
    }

    fn allowed_by(&self, rule: &Value) -> bool {
        let has = |field: &str, wanted: &str| {
            let list = rule[field].as_array().into_iter().flatten();
            list.clone().any(|own| own == wanted || own == "*")
        };
        let names = rule["resourceNames"].as_array();
        has("apiGroups", self.group)
            && has("resources", &self.resource)
            && has("verbs", self.verb)
            && names.is_none_or(|names| names.iter().any(|name| name == self.name))
    }
}

impl State {
    /// Why a request is refused, if rights are enforced and don't allow it.
    pub(super) fn unauthorized(&self, method: &Method, path: &str) -> Option<(StatusCode, String)> {
        let (namespace, account) = self.account.as_ref()?;
        let own = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}");
        if !self.objects.contains_key(&own) {
            return Some((StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()));
        }
        let asked = Attributes::of(method, path);
        let bound = |binding: &&Value| {
            let subjects = binding["subjects"].as_array().into_iter().flatten();
            let own = |subject: &Value| {
                subject["name"] == **account && subject["namespace"] == **namespace
            };
            subjects.clone().any(own)
        };
        let bindings = self.objects.values().filter(|object| {
            object["kind"] == "ClusterRoleBinding"
                || (object["kind"] == "RoleBinding"
                    && object["metadata"]["namespace"] == asked.namespace)
        });
        let allowed = bindings.filter(bound).any(|binding| {
            let role = self.role(binding);
            let rules = role.and_then(|role| role["rules"].as_array());
            rules
                .into_iter()
                .flatten()
                .any(|rule| asked.allowed_by(rule))
        });
        (!allowed).then(|| {
            let Attributes { verb, resource, .. } = &asked;
            let message = format!("{account} cannot {verb} {resource} at {path}");
            (StatusCode::FORBIDDEN, message)
        })
    }

    /// The role that a binding refers to, while it is there.
    fn role(&self, binding: &Value) -> Option<&Value> {
        let reference = &binding["roleRef"];
        self.objects.values().find(|object| {
            object["kind"] == reference["kind"]
                && object["metadata"]["name"] == reference["name"]
                && (object["kind"] == "ClusterRole"
                    || object["metadata"]["namespace"] == binding["metadata"]["namespace"])
        })
    }
}
