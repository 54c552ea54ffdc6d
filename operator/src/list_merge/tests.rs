use proptest::prelude::*;

use super::*;
use crate::render::{Context, render_object};

fn merged(era: ListMerge, profile: Value, spec: Value) -> Value {
    let mut merged = profile;
    era.merge_spec(&mut merged, &spec);
    merged
}

/// Name, profile, spec, by name, replaced.
type Case = (&'static str, Value, Value, Value, Value);

fn cases() -> Vec<Case> {
    let gateways = |list: Value| json!({"components": {"ingressGateways": list}});
    let values = |root: &str, list: Value| json!({"values": {"gateways": {root: list}}});
    let mesh = |field: &str, list: Value| json!({"meshConfig": {field: list}});
    vec![
        (
            "the profile's gateway stays beside another one",
            gateways(json!([{"name": "a", "enabled": true}])),
            gateways(json!([{"name": "b", "enabled": true}])),
            gateways(json!([{"name": "a", "enabled": true}, {"name": "b", "enabled": true}])),
            gateways(json!([{"name": "b", "enabled": true}])),
        ),
        (
            "a gateway inherits what it does not say",
            gateways(json!([{"name": "a", "enabled": false, "label": {"x": "y"}}])),
            gateways(json!([{"name": "a", "k8s": {"replicaCount": 2}}])),
            gateways(
                json!([{"name": "a", "enabled": false, "label": {"x": "y"}, "k8s": {"replicaCount": 2}}]),
            ),
            gateways(json!([{"name": "a", "k8s": {"replicaCount": 2}}])),
        ),
        (
            "a gateway that nothing turns on is off",
            gateways(json!([])),
            gateways(json!([{"name": "b"}])),
            gateways(json!([{"name": "b", "enabled": false}])),
            gateways(json!([{"name": "b"}])),
        ),
        (
            "a node agent that nothing turns on is off",
            json!({"components": {}}),
            json!({"components": {"cni": {"namespace": "kube-system"}}}),
            json!({"components": {"cni": {"namespace": "kube-system", "enabled": false}}}),
            json!({"components": {"cni": {"namespace": "kube-system"}}}),
        ),
        (
            "volumes of a gateway by name",
            values(
                "istio-ingressgateway",
                json!({"secretVolumes": [{"name": "a", "secretName": "s"}]}),
            ),
            values(
                "istio-ingressgateway",
                json!({"secretVolumes": [{"name": "b", "secretName": "t"}]}),
            ),
            values(
                "istio-ingressgateway",
                json!({"secretVolumes": [{"name": "a", "secretName": "s"}, {"name": "b", "secretName": "t"}]}),
            ),
            values(
                "istio-ingressgateway",
                json!({"secretVolumes": [{"name": "b", "secretName": "t"}]}),
            ),
        ),
        (
            "ports of the values by name",
            values(
                "istio-egressgateway",
                json!({"ports": [{"name": "http2", "port": 80}]}),
            ),
            values(
                "istio-egressgateway",
                json!({"ports": [{"name": "http2", "port": 8080}]}),
            ),
            values(
                "istio-egressgateway",
                json!({"ports": [{"name": "http2", "port": 8080}]}),
            ),
            values(
                "istio-egressgateway",
                json!({"ports": [{"name": "http2", "port": 8080}]}),
            ),
        ),
        (
            "providers by name",
            mesh("extensionProviders", json!([{"name": "otel", "x": 1}])),
            mesh("extensionProviders", json!([{"name": "mine"}])),
            mesh(
                "extensionProviders",
                json!([{"name": "otel", "x": 1}, {"name": "mine"}]),
            ),
            mesh("extensionProviders", json!([{"name": "mine"}])),
        ),
        (
            "sources by address",
            mesh("configSources", json!([{"address": "a"}])),
            mesh("configSources", json!([{"address": "a", "x": 1}])),
            mesh("configSources", json!([{"address": "a", "x": 1}])),
            mesh("configSources", json!([{"address": "a", "x": 1}])),
        ),
        (
            "aliases are a set",
            mesh("trustDomainAliases", json!(["a", "b"])),
            mesh("trustDomainAliases", json!(["b", "c"])),
            mesh("trustDomainAliases", json!(["a", "b", "c"])),
            mesh("trustDomainAliases", json!(["b", "c"])),
        ),
        (
            "other lists are one value",
            json!({"values": {"pilot": {"tolerations": [{"key": "a"}]}}}),
            json!({"values": {"pilot": {"tolerations": [{"key": "b"}]}}}),
            json!({"values": {"pilot": {"tolerations": [{"key": "b"}]}}}),
            json!({"values": {"pilot": {"tolerations": [{"key": "b"}]}}}),
        ),
        (
            "null is nothing in both",
            gateways(json!([{"name": "a", "enabled": true}])),
            gateways(Value::Null),
            gateways(Value::Null),
            gateways(Value::Null),
        ),
    ]
}

#[test]
fn eras() {
    for (name, profile, spec, by_name, replaced) in cases() {
        let merge = |era| merged(era, profile.clone(), spec.clone());
        assert_eq!(merge(ListMerge::ByName), by_name, "{name}, by name");
        assert_eq!(merge(ListMerge::Replace), replaced, "{name}, replaced");
    }
}

#[test]
fn ports_by_number_and_protocol() {
    let base = [
        json!({"name": "http2", "port": 80, "targetPort": 8080}),
        json!({"name": "https", "port": 443}),
    ];
    let own = [
        json!({"port": 443, "protocol": "UDP", "name": "quic"}),
        json!({"port": 80, "nodePort": 30080}),
    ];
    let merged = ListMerge::ByName.ports(&base, &own);
    assert_eq!(
        merged,
        [
            json!({"name": "http2", "port": 80, "targetPort": 8080, "nodePort": 30080}),
            json!({"name": "https", "port": 443}),
            json!({"port": 443, "protocol": "UDP", "name": "quic"}),
        ]
    );
    assert_eq!(ListMerge::Replace.ports(&base, &own), own);
}

#[test]
fn the_annotation_is_read_strictly() {
    let read = |text: &str| ListMerge::of(&[(ANNOTATION.to_owned(), text.to_owned())].into());
    assert_eq!(read("ByName"), Ok(Some(ListMerge::ByName)));
    assert_eq!(read("Replace"), Ok(Some(ListMerge::Replace)));
    assert_eq!(ListMerge::of(&BTreeMap::new()), Ok(None));
    let error = read("byname").expect_err("no era");
    assert_eq!(error.path, format!("metadata.annotations[{ANNOTATION}]"));
}

/// Names of Deployments and Services with their ports that an object renders.
fn rendered(era: Option<&str>, spec: &Value) -> Vec<String> {
    let annotations = era.map_or(json!({}), |era| json!({ANNOTATION: era}));
    let object = json!({
        "apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
        "metadata": {"name": "mesh", "annotations": annotations}, "spec": spec,
    });
    let rendered = render_object(&object, &Context::default()).expect("valid");
    let mut names = Vec::new();
    for object in &rendered.objects {
        let body = object.body();
        match object.kind().kind {
            "Deployment" => names.push(object.name().to_owned()),
            "Service" => {
                let ports = body["spec"]["ports"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let ports: Vec<String> = ports.iter().map(|p| p["port"].to_string()).collect();
                names.push(format!("{}:{}", object.name(), ports.join(",")));
            }
            _ => {}
        }
    }
    names.retain(|name| name.contains("gateway"));
    names
}

#[test]
fn an_object_renders_as_its_era_means_it() {
    let spec = json!({
        "components": {
            "ingressGateways": [{"name": "other-gateway", "enabled": true}],
            "egressGateways": [{"name": "istio-egressgateway", "k8s": {"replicaCount": 1}}],
        },
        "values": {"pilot": {"autoscaleEnabled": false}},
    });
    assert_eq!(
        rendered(Some("ByName"), &spec),
        [
            "istio-ingressgateway",
            "other-gateway",
            "istio-ingressgateway:15021,80,443",
            "other-gateway:15021,80,443",
        ]
    );
    let replaced = [
        "other-gateway",
        "other-gateway:15021,80,443",
        "istio-egressgateway",
        "istio-egressgateway:80,443",
    ];
    assert_eq!(rendered(Some("Replace"), &spec), replaced);
    assert_eq!(rendered(None, &spec), replaced, "it is the default");
    let ports = json!({"components": {"ingressGateways": [{"name": "istio-ingressgateway",
        "k8s": {"service": {"ports": [{"port": 9443, "targetPort": 9443, "name": "tls"}]}}}]}});
    assert_eq!(
        rendered(Some("ByName"), &ports)[1],
        "istio-ingressgateway:15021,80,443,9443"
    );
    assert_eq!(rendered(None, &ports)[1], "istio-ingressgateway:9443");
}

#[test]
fn built_in_volumes_stay_with_the_old_era() {
    let spec = json!({"values": {"gateways": {"istio-ingressgateway": {
        "secretVolumes": [{"name": "mine", "secretName": "mine", "mountPath": "/mine"}]}}}});
    let mounts = |era: ListMerge| {
        let context = Context {
            list_merge: era,
            ..Context::default()
        };
        let rendered = crate::render(&spec, &context).expect("valid");
        let gateway = rendered
            .objects
            .iter()
            .find(|o| o.key().to_string() == "Deployment istio-system/istio-ingressgateway");
        let body = gateway.expect("rendered").body().into_owned();
        let volumes = body["spec"]["template"]["spec"]["volumes"]
            .as_array()
            .cloned();
        let names = volumes
            .unwrap_or_default()
            .into_iter()
            .filter_map(|volume| {
                let name = volume["name"].as_str().unwrap_or_default().to_owned();
                (name == "mine" || name.starts_with("ingressgateway-")).then_some(name)
            });
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        mounts(ListMerge::ByName),
        ["ingressgateway-certs", "ingressgateway-ca-certs", "mine"]
    );
    assert_eq!(mounts(ListMerge::Replace), ["mine"]);
}

/// A gateway list as specs have it.
fn gateways() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let entry = (name, any::<Option<bool>>(), 0..3_u8).prop_map(|(name, enabled, count)| {
        let mut entry = json!({"name": name, "k8s": {"replicaCount": count}});
        if let Some(enabled) = enabled {
            entry["enabled"] = json!(enabled);
        }
        entry
    });
    let list = prop::collection::vec(entry, 0..4);
    list.prop_map(|list| json!({"components": {"ingressGateways": list}}))
}

fn names(spec: &Value) -> Vec<&Value> {
    let list = spec.pointer("/components/ingressGateways");
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.map(|entry| &entry["name"]).collect()
}

proptest! {
    #[test]
    fn merging_twice_is_merging_once(profile in gateways(), spec in gateways()) {
        for era in [ListMerge::ByName, ListMerge::Replace] {
            let once = merged(era, profile.clone(), spec.clone());
            prop_assert_eq!(merged(era, once.clone(), spec.clone()), once);
        }
    }

    #[test]
    fn an_empty_spec_adds_nothing(profile in gateways()) {
        let by_name = merged(ListMerge::ByName, profile.clone(), json!({}));
        prop_assert_eq!(names(&by_name), names(&profile));
        prop_assert_eq!(merged(ListMerge::Replace, profile.clone(), json!({})), profile);
    }

    #[test]
    fn nothing_of_the_profile_is_lost_by_name(profile in gateways(), spec in gateways()) {
        let both = merged(ListMerge::ByName, profile.clone(), spec.clone());
        let found = names(&both);
        for name in names(&profile).into_iter().chain(names(&spec)) {
            prop_assert!(found.contains(&name));
        }
        let replaced = merged(ListMerge::Replace, profile, spec.clone());
        prop_assert_eq!(names(&replaced), names(&spec));
    }
}
