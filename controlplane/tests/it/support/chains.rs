//! Listeners in short: one line per filter chain.

use std::fmt::Write as _;

use ironsail_xds::listener::Listener;
use serde_json::Value;

use crate::support::tree;

/// `name: match -> TLS; filters`, for every chain of an encoded listener.
pub fn describe(body: &[u8]) -> String {
    let listener = tree::decode::<Listener>(body);
    let mut text = format!("{}\n", leaf(&listener["name"]));
    for filter in list(&listener["listener_filters"]) {
        let disabled = match &filter["filter_disabled"] {
            Value::Null => String::new(),
            condition => format!(" unless {}", inline(condition)),
        };
        let _ = writeln!(text, "  inspect {}{disabled}", short(filter));
    }
    for chain in list(&listener["filter_chains"]) {
        let _ = writeln!(text, "  {}", describe_chain(chain));
    }
    if listener["default_filter_chain"].is_object() {
        let _ = writeln!(
            text,
            "  default {}",
            describe_chain(&listener["default_filter_chain"])
        );
    }
    text
}

fn describe_chain(chain: &Value) -> String {
    let name = chain["name"].as_str().unwrap_or("unnamed");
    let condition = inline(&chain["filter_chain_match"]);
    let filters: Vec<String> = list(&chain["filters"])
        .iter()
        .map(describe_filter)
        .collect();
    let tls = match &chain["transport_socket"]["typed_config"] {
        Value::Null => "-".to_owned(),
        context => describe_tls(context),
    };
    format!("{name} {{{condition}}} tls {tls}: {}", filters.join(", "))
}

fn describe_filter(filter: &Value) -> String {
    let short = short(filter);
    let config = &filter["typed_config"];
    let target = ["cluster", "weighted_clusters"]
        .into_iter()
        .map(|key| &config[key])
        .find(|value| !value.is_null())
        .map(inline);
    let named = config["rds"]["route_config_name"]
        .as_str()
        .map(str::to_owned);
    let table = config["route_config"]["name"]
        .as_str()
        .map(|name| format!("inline {name}"));
    match target.or(named).or(table) {
        Some(target) => format!("{short} {target}"),
        None => short,
    }
}

fn describe_tls(context: &Value) -> String {
    let common = &context["common_tls_context"];
    let validation = &common["combined_validation_context"];
    let certificates: Vec<String> = list(&common["tls_certificate_sds_secret_configs"])
        .iter()
        .map(|secret| leaf(&secret["name"]))
        .collect();
    let params = &common["tls_params"];
    let version = |key: &str| params[key].as_str().unwrap_or("any").to_owned();
    format!(
        "(client certificate {}, certificates {}, authority {}, peers {{{}}}, alpn {}, versions {} to {}, {} ciphers)",
        inline(&context["require_client_certificate"]),
        certificates.join(" "),
        leaf(&validation["validation_context_sds_secret_config"]["name"]),
        inline(&validation["default_validation_context"]),
        inline(&common["alpn_protocols"]),
        version("tls_minimum_protocol_version"),
        version("tls_maximum_protocol_version"),
        list(&params["cipher_suites"]).len(),
    )
}

/// Last part of an extension's name.
fn short(extension: &Value) -> String {
    let name = leaf(&extension["name"]);
    name.rsplit('.').next().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn leaf(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A value on one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(inline).collect::<Vec<_>>().join(" ")
            )
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| format!("{key} {}", inline(value)));
            fields.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}
