//! Checks of tables: which objects there are with a setting, and what stands in them. A row is one
//! rule, on one line.

use serde_json::{Value, json};

use super::*;

/// Where a workload has its pod.
pub const POD: &str = "/spec/template/spec";

/// Objects that appear or disappear with a setting: spec, object, whether it is there.
#[track_caller]
pub fn check_presence(rows: &[(Value, &str, bool)]) {
    for (spec, name, there) in rows {
        let rendered = rendered(stock(spec.clone()));
        assert_eq!(has(&rendered, name), *there, "{name} of {spec}");
    }
}

/// What stands at a place of an object: spec, object, JSON pointer, value; `null` is absent.
#[track_caller]
pub fn check_content(rows: &[(Value, &str, &str, Value)]) {
    for (spec, name, pointer, expected) in rows {
        let object = object(&rendered(stock(spec.clone())), name);
        let found = object.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(found, expected, "{pointer} of {name} of {spec}");
    }
}

pub fn values(values: Value) -> Value {
    json!({"values": values})
}

/// Names of a list at a place of an object.
pub fn names(object: &Value, pointer: &str) -> Vec<String> {
    let list = object
        .pointer(pointer)
        .and_then(Value::as_array)
        .expect("a list");
    let name = |item: &Value| item["name"].as_str().expect("a name").to_owned();
    list.iter().map(name).collect()
}
