//! Listeners in short: one line per filter chain.

use std::fmt::Write as _;

use crate::support::tree::Tree;
use ironsail_xds::listener::Listener;

/// `name: match -> TLS; filters`, for every chain of an encoded listener.
pub fn describe(body: &[u8]) -> String {
    let tree = Tree::decode::<Listener>(body);
    let mut text = format!("{}\n", leaf(&tree, "name"));
    for filter in list(&tree, "listener_filters") {
        let disabled =
            get(filter, "filter_disabled").map(|tree| format!(" unless {}", inline(tree)));
        let _ = writeln!(
            text,
            "  inspect {}{}",
            leaf(filter, "name"),
            disabled.unwrap_or_default()
        );
    }
    for chain in list(&tree, "filter_chains") {
        let _ = writeln!(text, "  {}", describe_chain(chain));
    }
    if let Some(chain) = get(&tree, "default_filter_chain") {
        let _ = writeln!(text, "  default {}", describe_chain(chain));
    }
    text
}

fn describe_chain(chain: &Tree) -> String {
    let condition = get(chain, "filter_chain_match")
        .map(inline)
        .unwrap_or_default();
    let filters: Vec<String> = list(chain, "filters").iter().map(describe_filter).collect();
    let tls = get(chain, "transport_socket").map_or("-".to_owned(), describe_tls);
    let name = match leaf(chain, "name").as_str() {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    };
    format!("{name} {{{condition}}} tls {tls}: {}", filters.join(", "))
}

fn describe_filter(filter: &Tree) -> String {
    let name = leaf(filter, "name");
    let config = get(filter, "config_type").and_then(|config| get(config, "TypedConfig"));
    let Some(config) = config else { return name };
    let short = name.rsplit('.').next().unwrap_or_default().to_owned();
    if let Some(cluster) = get(config, "cluster_specifier") {
        return format!("{short} {}", inline(cluster));
    }
    if let Some(routes) = get(config, "route_specifier") {
        let rds = get(routes, "Rds").map(|rds| leaf(rds, "route_config_name"));
        let inline =
            get(routes, "RouteConfig").map(|table| format!("inline {}", leaf(table, "name")));
        return format!("{short} {}", rds.or(inline).unwrap_or_default());
    }
    short
}

fn describe_tls(socket: &Tree) -> String {
    let context = get(socket, "config_type").and_then(|config| get(config, "TypedConfig"));
    let Some(context) = context else {
        return "?".to_owned();
    };
    let common = get(context, "common_tls_context");
    let part = |key: &str| {
        common
            .and_then(|common| get(common, key))
            .map(inline)
            .unwrap_or_default()
    };
    let version = |key: &str| {
        let params = common.and_then(|common| get(common, "tls_params"));
        params
            .and_then(|params| get(params, key))
            .map_or("any".to_owned(), inline)
    };
    let validation = common
        .and_then(|common| get(common, "validation_context_type"))
        .and_then(|context| get(context, "CombinedValidationContext"));
    let authority = validation
        .and_then(|context| get(context, "validation_context_sds_secret_config"))
        .map(|secret| leaf(secret, "name"))
        .unwrap_or_default();
    let names = validation
        .and_then(|context| get(context, "default_validation_context"))
        .map(inline)
        .unwrap_or_default();
    let certificates: Vec<String> = common
        .map(|common| list(common, "tls_certificate_sds_secret_configs"))
        .unwrap_or_default()
        .iter()
        .map(|secret| leaf(secret, "name"))
        .collect();
    let ciphers = common
        .and_then(|common| get(common, "tls_params"))
        .map_or(0, |params| list(params, "cipher_suites").len());
    format!(
        "(client certificate {}, certificates {}, authority {authority}, peers {{{names}}}, alpn {}, versions {} to {}, {ciphers} ciphers)",
        get(context, "require_client_certificate")
            .map(inline)
            .unwrap_or_default(),
        certificates.join(" "),
        part("alpn_protocols"),
        version("tls_minimum_protocol_version"),
        version("tls_maximum_protocol_version"),
    )
}

fn get<'t>(tree: &'t Tree, key: &str) -> Option<&'t Tree> {
    match tree {
        Tree::Fields(fields) => fields.get(key),
        _ => None,
    }
}

fn list<'t>(tree: &'t Tree, key: &str) -> &'t [Tree] {
    match get(tree, key) {
        Some(Tree::List(items)) => items,
        _ => &[],
    }
}

fn leaf(tree: &Tree, key: &str) -> String {
    match get(tree, key) {
        Some(Tree::Leaf(text)) => text.trim_matches('"').to_owned(),
        _ => String::new(),
    }
}

/// A tree on one line.
fn inline(tree: &Tree) -> String {
    match tree {
        Tree::Leaf(text) => text.trim_matches('"').to_owned(),
        Tree::List(items) => format!(
            "[{}]",
            items.iter().map(inline).collect::<Vec<_>>().join(" ")
        ),
        Tree::Fields(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| format!("{key} {}", inline(value)));
            fields.collect::<Vec<_>>().join(" ")
        }
    }
}
