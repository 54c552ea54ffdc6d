//! Parts of schemas that several kinds have in common.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// A port number that can be used.
pub(crate) fn port(_: &mut SchemaGenerator) -> Schema {
    let mut schema = json_schema!({ "type": "integer", "minimum": 0, "maximum": u32::MAX });
    schema.insert("x-kubernetes-validations".to_owned(), port_rules());
    schema
}

/// Port numbers by name.
pub(crate) fn named_ports(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 128,
        "additionalProperties": port(generator),
        "x-kubernetes-validations": [{
            "rule": "self.all(key, size(key) < 63 && key.matches(\"^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$\"))",
            "message": "port name must be valid",
        }],
    })
}

fn port_rules() -> Value {
    json!([{
        "rule": "0 < self && self <= 65535",
        "message": "port must be between 1-65535",
    }])
}

/// Labels that a pod must have, as the networking kinds write them.
pub(crate) fn selector_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 256,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": [{
                "rule": "!self.contains(\"*\")",
                "message": "wildcard is not supported in selector",
            }],
        },
    })
}

/// Hosts of a ServiceEntry.
pub(crate) fn service_hosts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 256,
        "items": {
            "type": "string",
            "x-kubernetes-validations": [{
                "rule": "self != \"*\"",
                "message": "hostname cannot be wildcard",
            }],
        },
    })
}

/// What an address on a Unix socket must look like.
pub(crate) fn socket_path_rules() -> Value {
    json!([
        {
            "rule": "self.startsWith(\"unix://\") ? (self.substring(7, 8) == \"/\" || self.substring(7, 8) == \"@\") : true",
            "message": "UDS must be an absolute path or abstract socket",
        },
        {
            "rule": "self.startsWith(\"unix://\") ? !self.endsWith(\"/\") : true",
            "message": "UDS may not be a dir",
        },
    ])
}

/// An address on a Unix socket has no ports.
pub(crate) fn no_socket_ports() -> Value {
    json!({
        "rule": "(has(self.address) ? self.address : \"\").startsWith(\"unix://\") ? !has(self.ports) : true",
        "message": "UDS may not include ports",
    })
}

/// A policy is for labels or for objects: at most one of `fields`.
pub(crate) fn one_target(fields: &[&str]) -> Value {
    let counts: Vec<String> = fields
        .iter()
        .map(|field| format!("(has(self.{field}) ? 1 : 0)"))
        .collect();
    json!([{
        "rule": format!("{} <= 1", counts.join(" + ")),
        "message": "only one of targetRefs or selector can be set",
    }])
}

/// Where a WebAssembly module comes from; `schemes` in the order of the peer's rule.
pub(crate) fn module_url_rules(schemes: &str) -> Value {
    json!([{
        "rule": format!(
            "isURL(self) ? (url(self).getScheme() in [{schemes}]) : (isURL(\"http://\" + self) &&\nurl(\"http://\" + self).getScheme() in [{schemes}])"
        ),
        "message": "url must have schema one of [http, https, file, oci]",
    }])
}

/// Where keys for tokens come from.
pub(crate) fn jwks_uri_rules() -> Value {
    json!([{
        "rule": "url(self).getScheme() in [\"http\", \"https\"]",
        "message": "url must have scheme http:// or https://",
    }])
}
