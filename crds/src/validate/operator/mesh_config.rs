//! Rules of the mesh configuration, of the spec and of its values.

use std::time::Duration;

use ironsail_mesh::duration;
use serde_json::Value;

use super::super::field::Findings;
use super::super::shape;
use crate::operator::mesh_config::{ADDRESSES, TIMES};
use crate::schema;

/// The shortest time in which something can connect.
const SHORTEST: Duration = Duration::from_millis(1);

/// Checks the types of known fields; others may be of a newer control plane.
pub(super) fn check(spec: &Value, out: &mut Findings) {
    for (pointer, path) in [
        ("/meshConfig", "spec.meshConfig"),
        ("/values/meshConfig", "spec.values.meshConfig"),
    ] {
        let Some(mesh) = spec.pointer(pointer).filter(|mesh| mesh.is_object()) else {
            continue;
        };
        shape::check(mesh, schema::mesh_config(), path, out, &mut |_| None);
        each(mesh, TIMES, path, time, out);
        each(mesh, &["connectTimeout"], path, long_enough, out);
        each(mesh, ADDRESSES, path, address, out);
    }
}

fn each(
    mesh: &Value,
    fields: &[&str],
    path: &str,
    check: fn(&str) -> Result<(), String>,
    out: &mut Findings,
) {
    for field in fields {
        if let Some(text) = mesh.pointer(&format!("/{field}")).and_then(Value::as_str) {
            out.check(format!("{path}.{}", field.replace('/', ".")), check(text));
        }
    }
}

fn time(text: &str) -> Result<(), String> {
    duration::parse(text)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn long_enough(text: &str) -> Result<(), String> {
    match duration::parse(text) {
        Ok(time) if time < SHORTEST => Err(format!("{text:?} is less than 1ms")),
        _ => Ok(()),
    }
}

fn address(text: &str) -> Result<(), String> {
    let port = text
        .rsplit_once(':')
        .map(|(host, port)| (host, port.parse::<u16>()));
    match port {
        Some((host, Ok(port))) if !host.is_empty() && port > 0 => Ok(()),
        _ => Err(format!(
            "{text:?} is no address such as istiod.istio-system.svc:15012"
        )),
    }
}
