use ironsail_xds::matcher::{StringMatcher, string_matcher::MatchPattern};
use ironsail_xds::{core, protobuf, route as proto};
use proptest::prelude::*;
use proto::header_matcher::HeaderMatchSpecifier;
use proto::route_match::PathSpecifier;

use super::{Action, Found, RouteTable};
use crate::http::message::{Method, RequestHead};
use crate::http::testing::connection;
use crate::resource::listener::TrafficDirection;

fn forward(cluster: &str) -> proto::RouteAction {
    proto::RouteAction {
        cluster_specifier: Some(proto::route_action::ClusterSpecifier::Cluster(
            cluster.to_owned(),
        )),
        ..Default::default()
    }
}

fn route(name: &str, path: PathSpecifier, action: proto::RouteAction) -> proto::Route {
    proto::Route {
        name: name.to_owned(),
        r#match: Some(proto::RouteMatch {
            path_specifier: Some(path),
            ..Default::default()
        }),
        action: Some(proto::route::Action::Route(action)),
        ..Default::default()
    }
}

fn table(hosts: Vec<(Vec<&str>, Vec<proto::Route>)>) -> proto::RouteConfiguration {
    proto::RouteConfiguration {
        name: "t".to_owned(),
        virtual_hosts: hosts
            .into_iter()
            .map(|(domains, routes)| proto::VirtualHost {
                name: domains.join(","),
                domains: domains.into_iter().map(str::to_owned).collect(),
                routes,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn name_of(table: &RouteTable, head: &RequestHead) -> Option<String> {
    match table.find(head, &connection(TrafficDirection::Outbound)) {
        Found::Route(found) => Some(found.route.name.to_string()),
        Found::NeedsTls | Found::Nothing => None,
    }
}

fn prefix(text: &str) -> PathSpecifier {
    PathSpecifier::Prefix(text.to_owned())
}

#[test]
fn the_first_route_of_the_best_host_counts() {
    let config = table(vec![
        (
            vec!["a.example"],
            vec![
                route("exact", PathSpecifier::Path("/x".to_owned()), forward("c")),
                route("prefix", prefix("/x"), forward("c")),
            ],
        ),
        (vec!["*"], vec![route("rest", prefix("/"), forward("c"))]),
    ]);
    let table = RouteTable::compile(&config).expect("valid");
    let find = |host, path| name_of(&table, &RequestHead::new(Method::Get, host, path));
    assert_eq!(find("a.example", "/x?q").as_deref(), Some("exact"));
    assert_eq!(find("a.example", "/xy").as_deref(), Some("prefix"));
    // A chosen host without a matching route does not fall through to another host.
    assert_eq!(find("a.example", "/y"), None);
    assert_eq!(find("b.example", "/y").as_deref(), Some("rest"));
    assert_eq!(table.clusters().count(), 3);
}

#[test]
fn a_bad_match_disturbs_nothing_else() {
    let regex = PathSpecifier::SafeRegex(ironsail_xds::matcher::RegexMatcher {
        regex: "(".to_owned(),
        ..Default::default()
    });
    let config = table(vec![(
        vec!["*"],
        vec![
            route("bad", regex, forward("c")),
            route("good", prefix("/"), forward("c")),
        ],
    )]);
    let table = RouteTable::compile(&config).expect("the rest is valid");
    let head = RequestHead::new(Method::Get, "h", "/");
    assert_eq!(name_of(&table, &head).as_deref(), Some("good"));
    let warning = table.warnings.first().expect("reported").to_string();
    assert!(
        warning.starts_with("virtual_hosts[0].routes[0].match.safe_regex.regex: "),
        "{warning}"
    );
}

#[test]
fn errors_name_their_field() {
    let mut config = table(vec![(
        vec!["*"],
        vec![route("r", prefix("/"), forward("c"))],
    )]);
    let check = |config: &proto::RouteConfiguration, start: &str| {
        let error = RouteTable::compile(config).expect_err(start).to_string();
        assert!(error.starts_with(start), "{error}");
    };
    let mut broken = config.clone();
    broken.virtual_hosts[0].routes[0].action = None;
    check(&broken, "virtual_hosts[0].routes[0]: names no action");
    let mut broken = config.clone();
    broken.virtual_hosts[0].domains.push("*".to_owned());
    check(
        &broken,
        "virtual_hosts[0].domains[1]: domain \"*\" appears twice",
    );
    config.virtual_hosts[0].typed_per_filter_config.insert(
        "envoy.filters.http.rbac".to_owned(),
        protobuf::Any {
            type_url: "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
                .to_owned(),
            value: Vec::new(),
        },
    );
    check(
        &config,
        "virtual_hosts[0].typed_per_filter_config[envoy.filters.http.rbac]: unknown HTTP filter",
    );
}

fn redirect(action: proto::RedirectAction, path: &str, authority: &str) -> String {
    let route = proto::Route {
        action: Some(proto::route::Action::Redirect(action)),
        ..route("r", prefix("/old"), forward("c"))
    };
    let config = table(vec![(vec!["*"], vec![route])]);
    let table = RouteTable::compile(&config).expect("valid");
    let head = RequestHead::new(Method::Get, authority, path);
    let connection = connection(TrafficDirection::Outbound);
    let Found::Route(found) = table.find(&head, &connection) else {
        panic!("{path} must match");
    };
    let Action::Redirect(redirect) = &found.route.action else {
        panic!("must redirect");
    };
    format!(
        "{} {}",
        redirect.status,
        redirect.location(found.route.path_matcher(), &head)
    )
}

#[test]
fn redirects() {
    use proto::redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier};
    let https = Some(SchemeRewriteSpecifier::HttpsRedirect(true));
    assert_eq!(
        redirect(
            proto::RedirectAction {
                scheme_rewrite_specifier: https.clone(),
                ..Default::default()
            },
            "/old/x?q=1",
            "h:80"
        ),
        "301 https://h/old/x?q=1"
    );
    assert_eq!(
        redirect(
            proto::RedirectAction {
                scheme_rewrite_specifier: https,
                port_redirect: 8443,
                response_code: 4,
                strip_query: true,
                path_rewrite_specifier: Some(PathRewriteSpecifier::PrefixRewrite(
                    "/new".to_owned()
                )),
                ..Default::default()
            },
            "/old/x?q=1",
            "h:8080"
        ),
        "308 https://h:8443/new/x"
    );
    let replaced = |path: &str, strip_query| {
        redirect(
            proto::RedirectAction {
                host_redirect: "other".to_owned(),
                strip_query,
                path_rewrite_specifier: Some(PathRewriteSpecifier::PathRedirect(path.to_owned())),
                ..Default::default()
            },
            "/old?q=1",
            "h:8080",
        )
    };
    assert_eq!(replaced("/n", false), "301 http://other/n?q=1");
    assert_eq!(replaced("/n", true), "301 http://other/n");
    assert_eq!(replaced("/n?own", false), "301 http://other/n?own");
}

#[test]
fn rewrites_keep_the_query() {
    let action = proto::RouteAction {
        prefix_rewrite: "/new".to_owned(),
        ..forward("c")
    };
    let config = table(vec![(vec!["*"], vec![route("r", prefix("/old"), action)])]);
    let table = RouteTable::compile(&config).expect("valid");
    let head = RequestHead::new(Method::Get, "h", "/old/x?a=/old");
    let connection = connection(TrafficDirection::Outbound);
    let Found::Route(found) = table.find(&head, &connection) else {
        panic!("must match");
    };
    let Action::Forward(forward) = &found.route.action else {
        panic!("must forward");
    };
    let rewrite = forward.path_rewrite.as_ref().expect("configured");
    assert_eq!(
        rewrite.apply(found.route.path_matcher(), head.path()),
        "/new/x?a=/old"
    );
}

#[test]
fn weights_share_the_requests() {
    let weighted = proto::WeightedCluster {
        clusters: [("v1", 75), ("none", 0), ("v2", 25)]
            .map(|(name, weight)| proto::weighted_cluster::ClusterWeight {
                name: name.to_owned(),
                weight: Some(protobuf::UInt32Value { value: weight }),
                ..Default::default()
            })
            .to_vec(),
        ..Default::default()
    };
    let action = proto::RouteAction {
        cluster_specifier: Some(proto::route_action::ClusterSpecifier::WeightedClusters(
            weighted,
        )),
        ..Default::default()
    };
    let forward = super::Forward::compile(&action, None, &[]).expect("valid");
    let super::ClusterChoice::Weighted(weighted) = &forward.cluster else {
        panic!("weighted");
    };
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..400 {
        let name = &weighted.pick().expect("there are clusters").name;
        *counts.entry(name.to_string()).or_insert(0) += 1;
    }
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["v1", "v2"]);
    assert!((298..=302).contains(&counts["v1"]), "{counts:?}");
}

#[test]
fn mutations_of_outer_levels_come_last_unless_configured() {
    let added = |value: &str| {
        vec![core::HeaderValueOption {
            header: Some(core::HeaderValue {
                key: "x".to_owned(),
                value: value.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }]
    };
    let mut config = table(vec![(
        vec!["*"],
        vec![route("r", prefix("/"), forward("c"))],
    )]);
    config.request_headers_to_add = added("table");
    config.virtual_hosts[0].request_headers_to_add = added("host");
    config.virtual_hosts[0].routes[0].request_headers_to_add = added("route");
    let order = |config: &proto::RouteConfiguration| {
        let table = RouteTable::compile(config).expect("valid");
        let head = RequestHead::new(Method::Get, "h", "/");
        let connection = connection(TrafficDirection::Outbound);
        let Found::Route(found) = table.find(&head, &connection) else {
            panic!("must match");
        };
        let info = crate::access_log::StreamInfo::new(connection.start, connection.start_time);
        let mut target = crate::http::header_block::HeaderBlock::new();
        for mutations in found.request_mutations(None) {
            let context = crate::access_log::FormatContext {
                info: &info,
                connection: None,
                request: Some(&head),
                response: None,
                trailers: None,
            };
            mutations.evaluate(&context).apply(&mut target);
        }
        let joined = target.joined(b"x").expect("added").into_owned();
        String::from_utf8(joined).expect("text")
    };
    assert_eq!(order(&config), "route,host,table");
    config.most_specific_header_mutations_wins = true;
    assert_eq!(order(&config), "table,host,route");
}

/// A matcher in the terms of the reference.
#[derive(Clone, Debug)]
struct Rule {
    kind: u8,
    path: String,
    ignore_case: bool,
    /// Header `x`: value, inverted.
    header: Option<(String, bool)>,
    /// Query parameter `q`.
    query: Option<String>,
}

impl Rule {
    fn to_proto(&self, name: String) -> proto::Route {
        let path = match self.kind {
            0 => PathSpecifier::Prefix(self.path.clone()),
            1 => PathSpecifier::Path(self.path.clone()),
            2 => PathSpecifier::PathSeparatedPrefix(self.path.clone()),
            _ => PathSpecifier::SafeRegex(ironsail_xds::matcher::RegexMatcher {
                regex: format!("{}.*", self.path),
                ..Default::default()
            }),
        };
        let exact = |text: &String| StringMatcher {
            match_pattern: Some(MatchPattern::Exact(text.clone())),
            ..Default::default()
        };
        let mut route = route(&name, path, forward("c"));
        let matcher = route.r#match.get_or_insert_default();
        matcher.case_sensitive = Some(protobuf::BoolValue {
            value: !self.ignore_case,
        });
        matcher.headers = self
            .header
            .iter()
            .map(|(value, invert)| proto::HeaderMatcher {
                name: "X".to_owned(),
                invert_match: *invert,
                header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(exact(value))),
                ..Default::default()
            })
            .collect();
        matcher.query_parameters = self
            .query
            .iter()
            .map(|value| proto::QueryParameterMatcher {
                name: "q".to_owned(),
                query_parameter_match_specifier: Some(
                    proto::query_parameter_matcher::QueryParameterMatchSpecifier::StringMatch(
                        exact(value),
                    ),
                ),
            })
            .collect();
        route
    }

    /// The reference: says what matching means in the plainest way.
    fn matches(&self, request: &Request) -> bool {
        let fold = |text: &str| {
            if self.ignore_case && self.kind != 3 {
                text.to_ascii_lowercase()
            } else {
                text.to_owned()
            }
        };
        let (path, pattern) = (fold(&request.path), fold(&self.path));
        let path_matches = match self.kind {
            0 | 3 => path.starts_with(&pattern),
            1 => path == pattern,
            _ => path == pattern || path.starts_with(&format!("{pattern}/")),
        };
        let header_matches = match (&self.header, &request.header) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((wanted, invert)), Some(value)) => (wanted == value) != *invert,
        };
        let query_matches = match (&self.query, &request.query) {
            (None, _) => true,
            (Some(wanted), Some(value)) => wanted == value,
            (Some(_), None) => false,
        };
        path_matches && header_matches && query_matches
    }
}

#[derive(Clone, Debug)]
struct Request {
    host: String,
    path: String,
    header: Option<String>,
    query: Option<String>,
}

fn path() -> impl Strategy<Value = String> {
    "(/[abA]{0,2}){1,3}"
}

fn domain() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        "[ab]{1,2}(\\.[ab]){0,2}",
        "\\*\\.[ab](\\.[ab])?",
        "[ab](\\.[ab])?\\.\\*",
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    (
        0..4u8,
        path(),
        any::<bool>(),
        proptest::option::of(("[12]", any::<bool>())),
        proptest::option::of("[12]"),
    )
        .prop_map(|(kind, path, ignore_case, header, query)| Rule {
            kind,
            path,
            ignore_case,
            header,
            query,
        })
}

fn request() -> impl Strategy<Value = Request> {
    (
        "[abA]{1,2}(\\.[abA]){0,3}(:80)?",
        path(),
        proptest::option::of("[12]"),
        proptest::option::of("[12]"),
    )
        .prop_map(|(host, path, header, query)| Request {
            host,
            path,
            header,
            query,
        })
}

/// How well a domain fits: exact before suffix before prefix before `*`, longer before shorter.
fn fit(domain: &str, host: &str) -> Option<(u8, usize)> {
    let host = host.strip_suffix(":80").unwrap_or(host).to_lowercase();
    if domain == "*" {
        return Some((0, 0));
    }
    if let Some(prefix) = domain.strip_suffix('*') {
        return (host.starts_with(prefix) && host != prefix).then_some((1, prefix.len()));
    }
    if let Some(suffix) = domain.strip_prefix('*') {
        return (host.ends_with(suffix) && host != suffix).then_some((2, suffix.len()));
    }
    (host == domain).then_some((3, 0))
}

proptest! {
    #[test]
    fn matching_equals_the_naive_reference(
        hosts in proptest::collection::btree_map(domain(), proptest::collection::vec(rule(), 0..5), 1..5),
        requests in proptest::collection::vec(request(), 1..20),
    ) {
        let mut config = table(Vec::new());
        config.ignore_port_in_host_matching = true;
        for (domain, rules) in &hosts {
            let routes = rules
                .iter()
                .enumerate()
                .map(|(number, rule)| rule.to_proto(format!("{domain} {number}")))
                .collect();
            config.virtual_hosts.extend(table(vec![(vec![domain], routes)]).virtual_hosts);
        }
        let table = RouteTable::compile(&config).expect("valid");
        for request in &requests {
            let expected = hosts
                .iter()
                .filter_map(|(domain, rules)| Some((fit(domain, &request.host)?, domain, rules)))
                .max_by_key(|(fit, _, _)| *fit)
                .and_then(|(_, domain, rules)| {
                    let number = rules.iter().position(|rule| rule.matches(request))?;
                    Some(format!("{domain} {number}"))
                });
            let path = match &request.query {
                Some(value) => format!("{}?q={value}", request.path),
                None => request.path.clone(),
            };
            let mut head = RequestHead::new(Method::Get, &request.host, &path);
            if let Some(value) = &request.header {
                head.headers.append_named(b"x", value.as_bytes());
            }
            prop_assert_eq!(name_of(&table, &head), expected, "{:?}", request);
        }
    }
}
