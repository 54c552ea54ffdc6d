//! Order of containers: who starts first.

use serde_json::Value;

use crate::metadata::name;
use crate::{INIT_CONTAINER, PROXY_CONTAINER, VALIDATION_CONTAINER};

/// The proxy is last, so that tools keep defaulting to the application, or first when the application waits for it.
pub(crate) fn containers(list: &mut Vec<Value>, hold_application: bool) {
    match hold_application {
        true => move_first(list, PROXY_CONTAINER),
        false => move_last(list, PROXY_CONTAINER),
    }
}

/// With a native sidecar the pod's own init containers come after capture and proxy and are part of the mesh;
/// otherwise capture comes last, so that they still reach the network.
pub(crate) fn init_containers(list: &mut Vec<Value>) {
    let native = list
        .iter()
        .any(|container| name(container) == PROXY_CONTAINER);
    match native {
        true => {
            for first in [PROXY_CONTAINER, VALIDATION_CONTAINER, INIT_CONTAINER] {
                move_first(list, first);
            }
        }
        false => {
            move_first(list, VALIDATION_CONTAINER);
            move_last(list, INIT_CONTAINER);
        }
    }
}

fn take(list: &mut Vec<Value>, wanted: &str) -> Option<Value> {
    let index = list
        .iter()
        .position(|container| name(container) == wanted)?;
    Some(list.remove(index))
}

fn move_first(list: &mut Vec<Value>, wanted: &str) {
    if let Some(container) = take(list, wanted) {
        list.insert(0, container);
    }
}

fn move_last(list: &mut Vec<Value>, wanted: &str) {
    if let Some(container) = take(list, wanted) {
        list.push(container);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(order: fn(&mut Vec<Value>), input: &[&str], expected: &[&str]) {
        let mut list: Vec<Value> = input.iter().map(|n| json!({"name": n})).collect();
        order(&mut list);
        let names: Vec<&str> = list.iter().map(name).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn table() {
        check(
            init_containers,
            &["istio-init", "migrate"],
            &["migrate", "istio-init"],
        );
        check(
            init_containers,
            &["migrate", "istio-validation"],
            &["istio-validation", "migrate"],
        );
        check(
            init_containers,
            &["migrate", "istio-init", "istio-proxy"],
            &["istio-init", "istio-proxy", "migrate"],
        );
        check(
            |l| containers(l, false),
            &["istio-proxy", "web"],
            &["web", "istio-proxy"],
        );
        check(
            |l| containers(l, true),
            &["web", "istio-proxy"],
            &["istio-proxy", "web"],
        );
    }
}
