use super::*;

use ironsail_xds::type_url;

use crate::resource::cluster::{Discovery, UpstreamProtocol};
use crate::resource::listener::{Terminal, TrafficDirection};
use crate::testing::capture::Capture;
use crate::testing::{
    Authority, assignment, common_tls, downstream_tls, eds_cluster, listener, static_cluster,
    tcp_chain, update,
};
use crate::xds::{Rejected, Sink, Update};

fn store() -> Store {
    Store::new(StoreOptions::default())
}

#[track_caller]
fn accept(store: &mut Store, update: Update) {
    assert_eq!(store.apply(update), Vec::<Rejected>::new());
}

fn names<T>(map: &BTreeMap<Arc<str>, T>) -> Vec<&str> {
    map.keys().map(|name| &**name).collect()
}

/// Types in an order in which a control plane sends them.
const TYPES: [&str; 4] = [
    type_url::CLUSTER,
    type_url::ENDPOINT,
    type_url::LISTENER,
    type_url::ROUTE,
];

#[tokio::test]
async fn captured_sidecar_loads_without_rejects() {
    let Some(capture) = Capture::read("bookinfo-productpage-sidecar") else {
        return;
    };
    let mut store = store();
    accept(&mut store, capture.update(type_url::CLUSTER));
    assert_eq!(store.wanted().endpoints.len(), 23);
    assert!(store.snapshot().listeners.is_empty());
    accept(&mut store, capture.update(type_url::LISTENER));
    let wanted: Vec<_> = store.wanted().routes.into_iter().collect();
    assert_eq!(wanted.len(), 6);
    accept(&mut store, capture.update(type_url::ENDPOINT));
    accept(&mut store, capture.update(type_url::ROUTE));
    let status = store.warming();
    assert!(status.initialized, "{status:?}");
    let snapshot = store.snapshot();
    assert_eq!(snapshot.clusters.len(), 27);
    assert_eq!(snapshot.listeners.len(), 12);
    assert!(
        names(&snapshot.routes)
            .into_iter()
            .eq(wanted.iter().map(|name| &**name))
    );

    let inbound = &snapshot.listeners["virtualInbound"].config;
    assert_eq!(inbound.direction, TrafficDirection::Inbound);
    assert_eq!(inbound.chains.len(), 8);
    assert_eq!(inbound.filters.len(), 3);
    assert_eq!(inbound.filters_timeout, None);
    let outbound = &snapshot.listeners["0.0.0.0_9080"].config;
    assert!(!outbound.bind_to_port);
    let Terminal::Http(manager) = &outbound.chains[0].terminal else {
        panic!("not HTTP");
    };
    assert_eq!(manager.rds_name().map(|name| &**name), Some("9080"));
    assert!(
        snapshot.listeners["virtualOutbound"]
            .config
            .use_original_dst
    );

    let app = &snapshot.clusters["inbound|9080||"].config;
    assert_eq!(app.discovery, Discovery::OriginalDst { port: None });
    assert_eq!(app.bind.v4, Some([127, 0, 0, 6].into()));
    assert_eq!(&*app.stat_name, "inbound|9080||");
    let reviews = &snapshot.clusters["outbound|9080|v1|reviews.default.svc.cluster.local"];
    assert_eq!(reviews.config.istio.subset.as_deref(), Some("v1"));
    assert_eq!(&*reviews.config.istio.services[0].name, "reviews");
    assert!(reviews.config.metadata_exchange);
    let passthrough = &snapshot.clusters["PassthroughCluster"].config;
    assert_eq!(passthrough.http.protocol, UpstreamProtocol::UseDownstream);
}

#[tokio::test]
async fn captured_gateway_loads_without_rejects() {
    let Some(capture) = Capture::read("bookinfo-ingress-gateway") else {
        return;
    };
    let mut store = store();
    for type_url in TYPES {
        accept(&mut store, capture.update(type_url));
    }
    let snapshot = store.snapshot();
    assert_eq!(snapshot.clusters.len(), 24);
    assert_eq!(names(&snapshot.listeners), ["0.0.0.0_8080"]);
    // A second push of the same changes nothing.
    for type_url in TYPES {
        accept(&mut store, capture.update(type_url));
    }
    assert_eq!(store.snapshot().version, snapshot.version);
}

#[tokio::test]
async fn clusters_wait_for_endpoints_and_listeners_for_clusters() {
    let mut store = store();
    accept(&mut store, update(&[("a", eds_cluster("a"))]));
    accept(
        &mut store,
        update(&[("l", listener("l", "0.0.0.0:80", vec![tcp_chain("a")]))]),
    );
    let snapshot = store.snapshot();
    assert!(snapshot.clusters.is_empty() && snapshot.listeners.is_empty());
    assert_eq!(store.warming().clusters, ["a"]);

    accept(
        &mut store,
        update(&[("a", assignment("a", &["10.0.0.1:80"]))]),
    );
    let snapshot = store.snapshot();
    assert_eq!(names(&snapshot.clusters), ["a"]);
    assert_eq!(names(&snapshot.listeners), ["l"]);
    assert!(store.warming().initialized);

    // Once everything was ready, a new cluster holds up nothing but itself.
    accept(
        &mut store,
        update(&[("a", eds_cluster("a")), ("b", eds_cluster("b"))]),
    );
    let snapshot = store.snapshot();
    assert_eq!(names(&snapshot.clusters), ["a"]);
    assert_eq!(names(&snapshot.listeners), ["l"]);
}

#[tokio::test]
async fn a_bad_resource_is_rejected_alone_and_its_last_version_stays() {
    let mut store = store();
    accept(
        &mut store,
        update(&[("a", static_cluster("a", &["10.0.0.1:80"]))]),
    );
    let before = store.snapshot();

    let mut bad = static_cluster("a", &["10.0.0.1:80"]);
    bad.lb_policy = 99;
    let both = update(&[("a", bad), ("b", static_cluster("b", &["10.0.0.2:80"]))]);
    let rejected = store.apply(both);
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].name, "a");
    assert!(
        rejected[0].error.starts_with("lb_policy: "),
        "{}",
        rejected[0].error
    );
    let snapshot = store.snapshot();
    assert_eq!(names(&snapshot.clusters), ["a", "b"]);
    let config = |snapshot: &Snapshot| Arc::clone(&snapshot.clusters["a"].config);
    assert!(Arc::ptr_eq(&config(&before), &config(&snapshot)));
    let raw = store.raw(type_url::CLUSTER);
    assert!(raw[0].error.is_some() && !raw[0].body.is_empty());
    assert!(raw[1].error.is_none());
}

#[test]
fn bodies_are_shown_as_they_came() {
    let mut store = store();
    let names: Vec<String> = (0..100)
        .map(|n| format!("outbound|80||s{n:03}.svc"))
        .collect();
    let clusters = |port| -> Update {
        let address = format!("10.0.0.1:{port}");
        let named = names.iter().map(|name| {
            let cluster = static_cluster(name, &[&address]);
            (name.as_str(), cluster)
        });
        update(&named.collect::<Vec<_>>())
    };
    for port in [80, 81] {
        let sent = clusters(port);
        accept(&mut store, sent.clone());
        let raw = store.raw(type_url::CLUSTER);
        let shown = raw.iter().map(|raw| (&raw.name, &raw.version, &raw.body));
        let sent = sent.added.iter();
        assert!(shown.eq(sent.map(|sent| (&sent.name, &sent.version, &sent.body))));
    }
}

#[tokio::test(start_paused = true)]
async fn removed_clusters_are_kept_for_the_drain_time() {
    let mut store = store();
    let (a, b) = (static_cluster("a", &[]), static_cluster("b", &[]));
    accept(&mut store, update(&[("a", a.clone()), ("b", b.clone())]));
    let version = store.snapshot().version;
    accept(&mut store, update(&[("a", a.clone())]));
    assert_eq!(store.raw(type_url::CLUSTER).len(), 1);
    assert_eq!(
        store.snapshot().version,
        version,
        "nothing has changed for workers"
    );
    tokio::time::advance(std::time::Duration::from_secs(44)).await;
    accept(&mut store, update(&[("a", a.clone())]));
    assert_eq!(names(&store.snapshot().clusters), ["a", "b"]);
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    accept(&mut store, update(&[("a", a.clone())]));
    assert_eq!(names(&store.snapshot().clusters), ["a"]);
    // One that comes back is the new one.
    accept(&mut store, update(&[("a", a.clone()), ("b", b.clone())]));
    accept(&mut store, update(&[("a", a.clone())]));
    let other = static_cluster("b", &["10.0.0.1:80"]);
    accept(&mut store, update(&[("a", a), ("b", other)]));
    let endpoints = Arc::clone(&store.snapshot().clusters["b"].endpoints);
    assert_eq!(endpoints.priorities[0][0].endpoints.len(), 1);
}

#[tokio::test]
async fn unchanged_chains_are_taken_over() {
    let mut store = store();
    accept(&mut store, update(&[("a", static_cluster("a", &[]))]));
    let with_ports = |ports: &[u32]| {
        let chains = ports.iter().map(|port| {
            let mut chain = tcp_chain("a");
            chain.filter_chain_match = Some(ironsail_xds::listener::FilterChainMatch {
                destination_port: Some(ironsail_xds::protobuf::UInt32Value { value: *port }),
                ..Default::default()
            });
            chain
        });
        update(&[("l", listener("l", "0.0.0.0:15006", chains.collect()))])
    };
    accept(&mut store, with_ports(&[80, 81]));
    let before = Arc::clone(&store.snapshot().listeners["l"].config);
    accept(&mut store, with_ports(&[81, 82]));
    let after = Arc::clone(&store.snapshot().listeners["l"].config);
    assert_eq!(before.base_hash, after.base_hash);
    assert!(Arc::ptr_eq(&before.chains[1], &after.chains[0]));
    assert_ne!(before.hash, after.hash);
}

#[tokio::test]
async fn unknown_filters_are_named() {
    let mut store = store();
    let mut chain = tcp_chain("a");
    let config = ironsail_xds::rbac::Policy::default();
    chain.filters.insert(0, crate::testing::filter(&config));
    let rejected = store.apply(update(&[("l", listener("l", "0.0.0.0:80", vec![chain]))]));
    let error = &rejected[0].error;
    assert!(
        error.starts_with("filter_chains[0].filters[0]: unknown network filter"),
        "{error}"
    );
    assert!(error.contains("envoy.config.rbac.v3.Policy"), "{error}");
}

#[tokio::test]
async fn tls_contexts_that_repeat_are_shared() {
    let mut store = store();
    let tls = downstream_tls(common_tls(&["h2"], &["spiffe://cluster.local/*"]));
    let chain = |port: u32| {
        let mut chain = tcp_chain("a");
        chain.transport_socket = Some(tls.clone());
        chain.filter_chain_match = Some(ironsail_xds::listener::FilterChainMatch {
            destination_port: Some(ironsail_xds::protobuf::UInt32Value { value: port }),
            ..Default::default()
        });
        chain
    };
    accept(&mut store, update(&[("a", static_cluster("a", &[]))]));
    let config = listener("l", "0.0.0.0:15006", vec![chain(1), chain(2)]);
    accept(&mut store, update(&[("l", config)]));
    let config = Arc::clone(&store.snapshot().listeners["l"].config);
    let contexts: Vec<_> = config
        .chains
        .iter()
        .map(|chain| match &chain.transport {
            crate::resource::transport_socket::DownstreamSocket::Tls { context, .. } => context,
            other => panic!("not TLS: {other:?}"),
        })
        .collect();
    assert!(Arc::ptr_eq(contexts[0], contexts[1]));
}

#[tokio::test]
async fn keys_are_redacted_in_dumps() {
    use ironsail_xds::core::{DataSource, data_source::Specifier};
    use ironsail_xds::ext::transport_sockets::tls::v3::{Secret, TlsCertificate, secret::Type};
    let mut store = store();
    let key = "-----BEGIN PRIVATE KEY-----";
    let source = |text: &str| DataSource {
        specifier: Some(Specifier::InlineString(text.to_owned())),
        ..Default::default()
    };
    let secret = Secret {
        name: "kubernetes://web".to_owned(),
        r#type: Some(Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(source("no certificate")),
            private_key: Some(source(key)),
            ..Default::default()
        })),
    };
    let rejected = store.apply(update(&[("kubernetes://web", secret)]));
    assert_eq!(rejected.len(), 1);
    assert!(!rejected[0].error.contains(key));
    let raw = store.raw(type_url::SECRET);
    assert!(
        raw.iter()
            .all(|raw| !String::from_utf8_lossy(&raw.body).contains(key))
    );
}

#[tokio::test]
async fn a_new_workload_certificate_is_published() {
    let store = store();
    let authority = Authority::new();
    assert!(store.snapshot().secrets.workload.is_none());
    store.set_workload(Some(authority.workload("spiffe://cluster.local/ns/a/sa/b")));
    let snapshot = store.snapshot();
    assert!(snapshot.secrets.workload.is_some());
}

#[tokio::test(start_paused = true)]
async fn routes_outlive_their_listener_by_the_drain_time() {
    use ironsail_xds::route::RouteConfiguration;
    let Some(capture) = Capture::read("bookinfo-ingress-gateway") else {
        return;
    };
    let mut store = store();
    for type_url in TYPES {
        accept(&mut store, capture.update(type_url));
    }
    accept(&mut store, update::<ironsail_xds::listener::Listener>(&[]));
    assert!(store.snapshot().listeners.is_empty());
    assert_eq!(
        store.snapshot().routes.len(),
        1,
        "draining connections still look it up"
    );
    tokio::time::advance(std::time::Duration::from_secs(46)).await;
    accept(&mut store, update::<RouteConfiguration>(&[]));
    assert!(store.snapshot().routes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn changed_routes_wait_for_endpoints() {
    use ironsail_xds::route;
    let table = |cluster: &str| {
        let forward = route::RouteAction {
            cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(
                cluster.to_owned(),
            )),
            ..Default::default()
        };
        let all = route::RouteMatch {
            path_specifier: Some(route::route_match::PathSpecifier::Prefix("/".to_owned())),
            ..Default::default()
        };
        let host = route::VirtualHost {
            name: "all".to_owned(),
            domains: vec!["*".to_owned()],
            routes: vec![route::Route {
                r#match: Some(all),
                action: Some(route::route::Action::Route(forward)),
                ..Default::default()
            }],
            ..Default::default()
        };
        let table = route::RouteConfiguration {
            name: "r".to_owned(),
            virtual_hosts: vec![host],
            ..Default::default()
        };
        update(&[("r", table)])
    };
    let mut store = store();
    let target = |store: &Store| {
        let table = Arc::clone(&store.snapshot().routes["r"]);
        table.clusters().next().map(|name| name.to_string())
    };
    let [a, b, c] = [static_cluster("a", &[]), eds_cluster("b"), eds_cluster("c")];
    accept(&mut store, update(&[("a", a), ("b", b), ("c", c)]));
    // Nothing serves meanwhile that would be better.
    accept(&mut store, table("b"));
    assert_eq!(target(&store).as_deref(), Some("b"));
    accept(&mut store, table("a"));
    assert_eq!(target(&store).as_deref(), Some("a"));
    accept(&mut store, table("b"));
    assert_eq!(target(&store).as_deref(), Some("a"));
    accept(
        &mut store,
        update(&[("b", assignment("b", &["10.0.0.1:80"]))]),
    );
    assert_eq!(target(&store).as_deref(), Some("b"));
    accept(&mut store, table("c"));
    assert_eq!(target(&store).as_deref(), Some("b"));
    tokio::time::advance(std::time::Duration::from_secs(16)).await;
    store.set_workload(None);
    assert_eq!(target(&store).as_deref(), Some("c"));
    // A cluster that nobody knows is not waited for.
    accept(&mut store, table("unknown"));
    assert_eq!(target(&store).as_deref(), Some("unknown"));
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_does_not_hold_up_chains_that_have_theirs() {
    use ironsail_xds::core::config_source::ConfigSourceSpecifier;
    use ironsail_xds::core::{DataSource, data_source::Specifier};
    use ironsail_xds::ext::transport_sockets::tls::v3 as tls;
    use std::time::Duration;
    use tls::common_tls_context::ValidationContextType;
    // A chain for a name whose clients are verified by a secret of that name.
    let chain = |name: &str| {
        let mut common = common_tls(&[], &[]);
        common.validation_context_type = Some(
            ValidationContextType::ValidationContextSdsSecretConfig(tls::SdsSecretConfig {
                name: format!("kubernetes://{name}-cacert"),
                sds_config: Some(ironsail_xds::core::ConfigSource {
                    config_source_specifier: Some(ConfigSourceSpecifier::Ads(Default::default())),
                    ..Default::default()
                }),
            }),
        );
        let mut chain = tcp_chain("web");
        chain
            .filter_chain_match
            .get_or_insert_default()
            .server_names = vec![name.to_owned()];
        chain.transport_socket = Some(downstream_tls(common));
        chain
    };
    let key = rcgen::KeyPair::generate().expect("keys can be made");
    let root = rcgen::CertificateParams::default().self_signed(&key);
    let secret = tls::Secret {
        name: "kubernetes://there-cacert".to_owned(),
        r#type: Some(tls::secret::Type::ValidationContext(
            tls::CertificateValidationContext {
                trusted_ca: Some(DataSource {
                    specifier: Some(Specifier::InlineString(root.expect("valid").pem())),
                    ..Default::default()
                }),
                ..Default::default()
            },
        )),
    };
    for (names, with_secret, seconds) in [
        (&["there", "missing"][..], true, 2),
        (&["there"], true, 0),
        (&["missing"], false, 15),
    ] {
        let mut store = store();
        accept(
            &mut store,
            update(&[("web", static_cluster("web", &["10.0.0.1:80"]))]),
        );
        let chains = names.iter().map(|name| chain(name)).collect();
        accept(
            &mut store,
            update(&[("all", listener("all", "10.0.0.1:443", chains))]),
        );
        if with_secret {
            accept(
                &mut store,
                update(&[("kubernetes://there-cacert", secret.clone())]),
            );
        }
        let begun = tokio::time::Instant::now();
        let (_agent, certificates) = tokio::sync::watch::channel(None);
        let resolver = ironsail_runtime::net::Resolver::from_texts("", "").expect("valid");
        let (keeper, mut published) = (store.clone(), store.subscribe());
        let keeping = async move { keeper.run(certificates, resolver).await };
        tokio::select! {
            _ = published.wait_for(|snapshot| !snapshot.listeners.is_empty()) => {}
            () = keeping => {}
        }
        assert_eq!(begun.elapsed().as_secs(), seconds, "{names:?}");
        assert!(begun.elapsed() < Duration::from_secs(seconds + 1));
    }
}
