use std::collections::BTreeMap;

use super::*;

fn environment(extra: &[(&str, &str)]) -> Environment {
    let root = tempfile::tempdir().expect("a directory").keep();
    let pod = root.join("etc/istio/pod");
    std::fs::create_dir_all(&pod).expect("made");
    std::fs::write(pod.join("labels"), "app=\"productpage\"\nversion=\"v1\"\n").expect("written");
    let variables = [
        ("POD_NAME", "productpage-v1-x"),
        ("POD_NAMESPACE", "default"),
        ("INSTANCE_IP", "10.244.0.41"),
        ("SERVICE_ACCOUNT", "bookinfo-productpage"),
        ("ISTIO_META_CLUSTER_ID", "Kubernetes"),
        ("ISTIO_META_WORKLOAD_NAME", "productpage-v1"),
    ];
    let variables: BTreeMap<String, String> = variables
        .iter()
        .chain(extra)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Environment::new(variables, root)
}

fn bootstrap(extra: &[(&str, &str)]) -> Bootstrap {
    Bootstrap::new(&Flags::default(), &environment(extra)).expect("complete")
}

#[test]
fn the_node_is_as_the_peers() {
    let bootstrap = bootstrap(&[]);
    assert_eq!(
        bootstrap.node.to_string(),
        "sidecar~10.244.0.41~productpage-v1-x.default~default.svc.cluster.local"
    );
    assert_eq!(bootstrap.service_cluster, "productpage.default");
    assert_eq!(
        bootstrap.identity.to_string(),
        "spiffe://cluster.local/ns/default/sa/bookinfo-productpage"
    );
    assert_eq!(bootstrap.metadata["LABELS"]["version"], "v1");
    assert_eq!(bootstrap.metadata["INSTANCE_IPS"], "10.244.0.41");
    assert_eq!(bootstrap.metadata["ISTIO_VERSION"], "1.32.0");
    assert_eq!(bootstrap.discovery.host, "istiod.istio-system.svc");
    assert_eq!(bootstrap.certificate_authority.port, 15012);
}

#[test]
fn proxy_config_and_metadata_variables_are_read() {
    let bootstrap = bootstrap(&[
        (
            "PROXY_CONFIG",
            r#"{"discoveryAddress":"other:1","concurrency":3,"proxyMetadata":{"ISTIO_META_A":"1"}}"#,
        ),
        ("ISTIO_METAJSON_LABELS", r#"{"extra":"x"}"#),
        ("CA_ADDR", "ca.example:443"),
        ("SECRET_TTL", "1h"),
    ]);
    assert_eq!(
        bootstrap.discovery,
        Address {
            host: "other".to_owned(),
            port: 1
        }
    );
    assert_eq!(bootstrap.certificate_authority.host, "ca.example");
    assert_eq!(bootstrap.concurrency, 3);
    assert_eq!(bootstrap.metadata["A"], "1");
    assert_eq!(bootstrap.metadata["LABELS"]["extra"], "x");
    assert_eq!(bootstrap.metadata["LABELS"]["app"], "productpage");
    assert_eq!(bootstrap.certificate.ttl, Duration::from_secs(3600));
    assert_eq!(bootstrap.switches, Switches::default());
    let node = bootstrap.xds_node();
    assert!(
        node.metadata
            .expect("metadata")
            .fields
            .contains_key("PROXY_CONFIG")
    );
}

#[test]
fn switches_are_on_or_off() {
    for (value, expected) in [("", false), ("false", false), ("0", false), ("true", true)] {
        let bootstrap = bootstrap(&[("IRONSAIL_HTTP1_LENIENT", value)]);
        assert_eq!(bootstrap.switches.lenient_http1, expected, "{value:?}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let check = |extra: &[(&str, &str)], part: &str| {
        let error = Bootstrap::new(&Flags::default(), &environment(extra)).expect_err("invalid");
        assert!(error.to_string().contains(part), "{error}");
    };
    check(&[("POD_NAME", "")], "POD_NAME");
    check(&[("INSTANCE_IP", "x")], "INSTANCE_IP");
    check(&[("PROXY_CONFIG", "{")], "PROXY_CONFIG");
    check(&[("SECRET_TTL", "soon")], "SECRET_TTL");
    check(&[("ISTIO_METAJSON_LABELS", "x")], "ISTIO_METAJSON_LABELS");
    check(
        &[("IRONSAIL_HTTP1_LENIENT", "yes please")],
        "IRONSAIL_HTTP1_LENIENT: \"yes please\" is not true or false",
    );
    let flags = Flags {
        role: Some("waypoint".to_owned()),
        ..Default::default()
    };
    assert!(Bootstrap::new(&flags, &environment(&[])).is_err());
}
