//! Gateway objects and the gateway proxies they are for.

use std::collections::BTreeMap;
use std::sync::Arc;

use ironsail_crds::GatewaySpec;

use crate::model::authentication::is_selected;
use crate::model::change::ConfigKey;

/// A Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    pub key: ConfigKey,
    pub created: i64,
    pub spec: GatewaySpec,
    pub generation: u64,
}

impl Gateway {
    /// The name by which virtual services bind: `namespace/name`.
    pub fn reference(&self) -> String {
        format!("{}/{}", self.key.namespace, self.key.name)
    }
}

/// A host of a server: `namespace/host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHost {
    /// Namespace of the virtual services that may attach; `None` is any.
    pub namespace: Option<String>,
    /// Exact, `*.suffix` or `*`.
    pub host: String,
}

impl ServerHost {
    /// Parses `host`, `*/host`, `./host` or `namespace/host`.
    pub fn parse(text: &str, gateway_namespace: &str) -> Self {
        let (namespace, host) = match text.split_once('/') {
            None | Some(("*", _)) => (None, text.rsplit('/').next().unwrap_or(text)),
            Some((".", host)) => (Some(gateway_namespace.to_owned()), host),
            Some((namespace, host)) => (Some(namespace.to_owned()), host),
        };
        Self {
            namespace,
            host: host.to_ascii_lowercase(),
        }
    }
}

/// All Gateways, oldest first.
#[derive(Clone, Debug, Default)]
pub struct GatewayIndex {
    ranked: Vec<Arc<Gateway>>,
    /// When any of them last changed, in snapshots.
    pub generation: u64,
}

impl GatewayIndex {
    pub fn new(gateways: impl IntoIterator<Item = Arc<Gateway>>, generation: u64) -> Self {
        let mut ranked: Vec<_> = gateways.into_iter().collect();
        ranked.sort_by(|a, b| {
            (a.created, &a.key.name, &a.key.namespace).cmp(&(
                b.created,
                &b.key.name,
                &b.key.namespace,
            ))
        });
        Self { ranked, generation }
    }

    /// The Gateways that select a proxy with these labels.
    pub fn for_labels<'a>(
        &'a self,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a Arc<Gateway>> {
        self.ranked
            .iter()
            .filter(move |gateway| is_selected(&gateway.spec.selector, labels))
    }

    pub fn len(&self) -> usize {
        self.ranked.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_hosts_name_their_namespace() {
        let parse = |text| {
            let host = ServerHost::parse(text, "own");
            (host.namespace, host.host)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parse("*"), (None, "*".to_owned()));
        assert_eq!(parse("*/A.com"), (None, "a.com".to_owned()));
        assert_eq!(parse("./*.com"), (some("own"), "*.com".to_owned()));
        assert_eq!(parse("ns/a"), (some("ns"), "a".to_owned()));
    }
}
