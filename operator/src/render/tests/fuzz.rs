//! Whatever a user writes is rendered or refused.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::*;

/// Values of every type, among them those that mean something somewhere.
fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..70_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![
            "",
            "default",
            "istiod",
            "1.32.0",
            "10m",
            "25%",
            "all",
            "cluster",
            "Always",
            "10.0.0.1",
            "fd00::1",
            "a/b:c",
            "istio.example.com",
            "multus",
            "openshift",
            "istio-system",
            "é",
        ])
        .prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,8}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Every path of the schema, so that what is written there reaches the code that reads it.
fn paths() -> Vec<Vec<String>> {
    let schema = ironsail_crds::kind::ISTIO_OPERATOR.openapi();
    let spec = schema.pointer("/properties/spec").expect("a spec");
    let mut found = Vec::new();
    walk(spec, &mut Vec::new(), &mut found);
    for gateway in ["istio-ingressgateway", "istio-egressgateway"] {
        for key in ["env", "affinity", "pdb", "seccompProfile"] {
            let path = ["unvalidatedValues", "gateways", gateway, key];
            found.push(path.map(str::to_owned).into());
        }
    }
    found
}

fn walk(schema: &Value, at: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    if !at.is_empty() {
        found.push(at.clone());
    }
    let below = schema.get("items").map(|items| ("0", items));
    if let Some((index, items)) = below {
        at.push(index.to_owned());
        walk(items, at, found);
        at.pop();
    }
    for (name, child) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        at.push(name.clone());
        walk(child, at, found);
        at.pop();
    }
}

/// Writes at a path; a numeric step is the first item of a list.
fn write(at: &mut Value, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *at = value;
        return;
    };
    if first == "0" {
        if !at.is_array() {
            *at = json!([{"name": "gateway"}]);
        }
        let Value::Array(items) = at else { return };
        if items.is_empty() {
            items.push(json!({"name": "gateway"}));
        }
        if let Some(item) = items.first_mut() {
            write(item, rest, value);
        }
        return;
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    if let Some(map) = at.as_object_mut() {
        write(map.entry(first.clone()).or_insert(Value::Null), rest, value);
    }
}

/// Whose images a spec names: with Ironsail's own, some components are refused.
#[derive(Clone, Copy)]
enum Images {
    Own,
    Stock,
}

fn spec(images: Images, edits: std::ops::Range<usize>) -> impl Strategy<Value = Value> {
    let profile = select(crate::profile::names());
    let edits = prop::collection::vec((select(paths()), document()), edits);
    (profile, edits).prop_map(move |(profile, edits)| {
        let mut spec = json!({"profile": profile});
        if let Images::Stock = images {
            spec = stock(spec);
        }
        for (path, value) in edits {
            write(&mut spec, &path, value);
        }
        spec
    })
}

/// Overlays of every path on objects that exist.
fn overlays() -> impl Strategy<Value = Value> {
    let kind = select(vec![
        "Deployment",
        "Service",
        "ConfigMap",
        "HorizontalPodAutoscaler",
    ]);
    let step = select(vec![
        "spec",
        "template",
        "[name:discovery]",
        "[0]",
        "[-1]",
        "[x]",
        "containers",
        "args",
        "data",
        "[:.*]",
        "metadata",
        r"a\.b",
        "name",
    ]);
    let path = prop::collection::vec(step, 0..6).prop_map(|steps| steps.join("."));
    prop::collection::vec((kind, path, document()), 1..4).prop_map(|overlays| {
        let overlays = overlays.into_iter().map(|(kind, path, value)| {
            json!({"kind": kind, "name": "istiod", "patches": [{"path": path, "value": value}]})
        });
        overlays.collect()
    })
}

/// Valid or not, with or without validation before.
fn check(spec: &Value) {
    let context = Context::default();
    let object = json!({"kind": "IstioOperator", "spec": spec});
    match render_object(&object, &context) {
        Ok(rendered) => {
            let mut own = rendered
                .objects
                .iter()
                .filter(|object| !object.is_definition());
            assert!(own.all(|object| object.body().is_object()));
        }
        Err(_) => drop(render(spec, &context)),
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2_500,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

// 10,000 in all, in parts that run beside each other.
proptest! {
    #![proptest_config(config())]

    #[test]
    fn specs_of_profiles(spec in spec(Images::Own, 1..4)) {
        check(&spec);
    }

    #[test]
    fn specs_of_all_components(spec in spec(Images::Stock, 1..4)) {
        check(&spec);
    }

    #[test]
    fn specs_with_many_edits(spec in spec(Images::Stock, 4..9)) {
        check(&spec);
    }

    #[test]
    fn specs_with_overlays(spec in spec(Images::Own, 0..2), overlays in overlays()) {
        let mut spec = spec;
        let path = ["components", "pilot", "k8s", "overlays"].map(str::to_owned);
        write(&mut spec, &path, overlays);
        check(&spec);
    }
}
