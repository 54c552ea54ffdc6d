//! What happens to a request that a route matched: forwarding, a redirect, or an answer from the configuration.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ironsail_xds::protobuf::BoolValue;
use ironsail_xds::{core, route as proto, to_std};
use proto::route_action::{ClusterSpecifier, HostRewriteSpecifier, RequestMirrorPolicy};
use xxhash_rust::xxh64::xxh64;

use super::filter_config::RouteFilters;
use super::header_mutation::HeaderMutations;
use super::matcher::{self, Fraction, PathMatcher};
use super::regex::Substitution;
use super::retry::RetryPolicy;
use super::upgrade;
use crate::http::message::{RequestHead, split_query};
use crate::resource::cluster::RoutingPriority;
use crate::resource::{At, CompileError};

/// Time for a whole request when a route says nothing.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest body of a direct response when the table says nothing.
pub(super) const DEFAULT_MAX_BODY: usize = 4096;

/// What a route does.
#[derive(Debug)]
pub enum Action {
    Forward(Box<Forward>),
    Redirect(Box<Redirect>),
    Direct(DirectResponse),
}

/// `RouteAction`.
#[derive(Debug)]
pub struct Forward {
    pub cluster: ClusterChoice,
    /// Status when the cluster does not exist; default 503.
    pub cluster_not_found: u16,
    /// From the end of the request to the end of the response; `None`: no limit, also where `stream_limit` is set.
    pub timeout: Option<Duration>,
    /// Time without progress; the outer `None` leaves it to the connection manager, the inner is no limit.
    pub idle_timeout: Option<Option<Duration>>,
    /// `None` leaves it to the connection manager.
    pub stream_limit: Option<StreamLimit>,
    /// What the timeout of gRPC requests is; only without `stream_limit`.
    pub grpc_timeout: Option<GrpcTimeout>,
    pub retry: Option<RetryPolicy>,
    pub path_rewrite: Option<PathRewrite>,
    pub host_rewrite: Option<HostRewrite>,
    pub append_forwarded_host: bool,
    pub mirrors: Vec<Mirror>,
    hash: Vec<HashPolicy>,
    /// Lower-case protocols that may, or may not, be upgraded to, over what the connection manager says.
    pub upgrades: Vec<(Box<str>, bool)>,
    /// CONNECT ends here: what follows it goes to the cluster as bytes.
    pub terminates_connect: bool,
    pub priority: RoutingPriority,
}

/// `MaxStreamDuration`: time for the whole stream, both messages.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimit {
    /// The outer `None` leaves it to the connection manager, the inner is no limit.
    pub max: Option<Option<Duration>>,
    /// The limit of requests that bring a `grpc-timeout`.
    pub grpc: Option<GrpcTimeout>,
}

/// How the client's `grpc-timeout` becomes a limit.
#[derive(Clone, Copy, Debug)]
pub struct GrpcTimeout {
    /// `None`: whatever the client says.
    pub max: Option<Duration>,
    /// Taken off what the client says.
    pub offset: Duration,
}

#[derive(Debug)]
pub enum ClusterChoice {
    One(Arc<str>),
    Weighted(Weighted),
    /// Name of the header that names the cluster.
    Header(Box<str>),
}

/// `WeightedCluster`.
#[derive(Debug)]
pub struct Weighted {
    clusters: Vec<WeightedCluster>,
    total: u32,
    /// Where the next request falls, in fractions of 2^64.
    turn: AtomicU64,
}

#[derive(Debug)]
pub struct WeightedCluster {
    pub name: Arc<str>,
    weight: u32,
    pub request_headers: HeaderMutations,
    pub response_headers: HeaderMutations,
    pub host_rewrite: Option<Box<str>>,
    pub filters: RouteFilters,
}

impl Weighted {
    /// The cluster of the next request. Requests are spread evenly, as steps of the golden ratio are: any few hundred
    /// hold their shares within a request or two. Differs from Envoy, which throws dice.
    pub fn pick(&self) -> Option<&WeightedCluster> {
        /// 2^64 divided by the golden ratio.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let turn = u128::from(self.turn.fetch_add(STEP, Ordering::Relaxed));
        let mut point = ((turn * u128::from(self.total)) >> 64) as u64;
        for cluster in &self.clusters {
            let weight = u64::from(cluster.weight);
            if point < weight {
                return Some(cluster);
            }
            point -= weight;
        }
        self.clusters.last()
    }

    pub fn clusters(&self) -> &[WeightedCluster] {
        &self.clusters
    }
}

#[derive(Debug)]
pub enum PathRewrite {
    /// Replaces what the route matched.
    Prefix(Box<str>),
    Regex(Substitution),
}

impl PathRewrite {
    /// The new path; the query stays.
    pub fn apply(&self, matched: &PathMatcher, path: &str) -> String {
        let (path, query) = split_query(path);
        let path: Cow<'_, str> = match self {
            PathRewrite::Prefix(prefix) => {
                let rest = path.get(matched.matched_length(path)..).unwrap_or_default();
                format!("{prefix}{rest}").into()
            }
            PathRewrite::Regex(substitution) => substitution.apply(path),
        };
        match query {
            Some(query) => format!("{path}?{query}"),
            None => path.into_owned(),
        }
    }
}

#[derive(Debug)]
pub enum HostRewrite {
    Literal(Box<str>),
    /// The host name of the endpoint.
    Auto,
    Header(Box<str>),
    PathRegex(Substitution),
}

/// `RequestMirrorPolicy`.
#[derive(Debug)]
pub struct Mirror {
    pub cluster: Arc<str>,
    pub fraction: Fraction,
    /// Add `-shadow` to the host.
    pub shadow_suffix: bool,
    pub host_rewrite: Option<Box<str>>,
}

#[derive(Debug)]
struct HashPolicy {
    kind: HashKind,
    terminal: bool,
}

#[derive(Debug)]
enum HashKind {
    Header {
        name: Box<[u8]>,
        rewrite: Option<Substitution>,
    },
    Cookie(HashCookie),
    SourceIp,
    Query(Box<str>),
}

/// A cookie that clients are told to keep, when it has a lifetime and they have none yet.
#[derive(Debug)]
struct HashCookie {
    name: Box<str>,
    ttl: Option<Duration>,
    path: Box<str>,
    attributes: Box<str>,
}

/// The hash of a request, and the cookies that keep it for the next one.
#[derive(Debug, Default)]
pub struct RequestHash {
    pub hash: Option<u64>,
    /// Values of `set-cookie`.
    pub set_cookies: Vec<String>,
}

impl Forward {
    /// # Errors
    /// Whatever the action asks for that this proxy does not have.
    pub fn compile(
        action: &proto::RouteAction,
        fallback_retry: Option<&proto::RetryPolicy>,
        fallback_mirrors: &[RequestMirrorPolicy],
    ) -> Result<Self, CompileError> {
        let mirror_policies = match action.request_mirror_policies.as_slice() {
            [] => fallback_mirrors,
            own => own,
        };
        let retry = match action.retry_policy.as_ref().or(fallback_retry) {
            Some(policy) => Some(RetryPolicy::compile(policy).at("retry_policy")?),
            None => None,
        };
        let limit = |value: &ironsail_xds::protobuf::Duration| {
            Some(to_std(value)).filter(|limit| !limit.is_zero())
        };
        let stream = action.max_stream_duration.as_ref();
        let hash = action
            .hash_policy
            .iter()
            .enumerate()
            .map(|(index, policy)| {
                HashPolicy::compile(policy).at(format_args!("hash_policy[{index}]"))
            });
        let hash: Vec<Option<HashPolicy>> = hash.collect::<Result<_, _>>()?;
        Ok(Self {
            cluster: ClusterChoice::compile(action.cluster_specifier.as_ref())?,
            cluster_not_found: match action.cluster_not_found_response_code() {
                proto::route_action::ClusterNotFoundResponseCode::ServiceUnavailable => 503,
                proto::route_action::ClusterNotFoundResponseCode::NotFound => 404,
                proto::route_action::ClusterNotFoundResponseCode::InternalServerError => 500,
            },
            timeout: match (&action.timeout, stream) {
                (_, Some(_)) => None,
                (None, None) => Some(DEFAULT_TIMEOUT),
                (Some(timeout), None) => limit(timeout),
            },
            idle_timeout: action.idle_timeout.as_ref().map(limit),
            stream_limit: stream.map(|stream| StreamLimit {
                max: stream.max_stream_duration.as_ref().map(limit),
                grpc: GrpcTimeout::compile(
                    stream.grpc_timeout_header_max.as_ref(),
                    stream.grpc_timeout_header_offset.as_ref(),
                ),
            }),
            grpc_timeout: grpc_timeout(action).filter(|_| stream.is_none()),
            retry,
            path_rewrite: path_rewrite(action)?,
            host_rewrite: host_rewrite(action)?,
            append_forwarded_host: action.append_x_forwarded_host,
            mirrors: mirrors(mirror_policies)?,
            hash: hash.into_iter().flatten().collect(),
            upgrades: upgrade::allowed(&action.upgrade_configs),
            terminates_connect: upgrade::terminates_connect(&action.upgrade_configs)?,
            priority: match action.priority() {
                core::RoutingPriority::Default => RoutingPriority::Default,
                core::RoutingPriority::High => RoutingPriority::High,
            },
        })
    }

    /// Names of the clusters that requests may go to, as far as they are known beforehand.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, weighted) = match &self.cluster {
            ClusterChoice::One(name) => (Some(name), &[][..]),
            ClusterChoice::Weighted(weighted) => (None, weighted.clusters()),
            ClusterChoice::Header(_) => (None, &[][..]),
        };
        let mirrored = self.mirrors.iter().map(|mirror| &mirror.cluster);
        let weighted = weighted.iter().map(|cluster| &cluster.name);
        one.into_iter().chain(weighted).chain(mirrored)
    }

    /// The hash that load balancing by hash uses.
    pub fn hash(&self, head: &RequestHead, source: IpAddr) -> RequestHash {
        let mut result = RequestHash::default();
        for policy in &self.hash {
            if let Some(new) = policy.hash(head, source, &mut result.set_cookies) {
                let old = result.hash.map_or(0, |old: u64| old.rotate_left(1));
                result.hash = Some(old ^ new);
                if policy.terminal {
                    break;
                }
            }
        }
        result
    }
}

#[allow(deprecated)]
fn grpc_timeout(action: &proto::RouteAction) -> Option<GrpcTimeout> {
    GrpcTimeout::compile(
        action.max_grpc_timeout.as_ref(),
        action.grpc_timeout_offset.as_ref(),
    )
}

impl GrpcTimeout {
    fn compile(
        max: Option<&ironsail_xds::protobuf::Duration>,
        offset: Option<&ironsail_xds::protobuf::Duration>,
    ) -> Option<Self> {
        Some(Self {
            max: Some(to_std(max?)).filter(|max| !max.is_zero()),
            offset: offset.map(to_std).unwrap_or_default(),
        })
    }

    /// The timeout of a response, as Envoy reads it: 0 is no limit, and an offset that leaves nothing is left out.
    pub fn of_response(self, asked: Option<Duration>) -> Option<Duration> {
        let asked = asked.filter(|asked| !asked.is_zero());
        let asked = asked.map(|asked| match asked.saturating_sub(self.offset) {
            Duration::ZERO => asked,
            less => less,
        });
        match (asked, self.max) {
            (Some(asked), Some(max)) => Some(asked.min(max)),
            (asked, max) => asked.or(max),
        }
    }

    /// The limit of a stream, as Envoy reads it: 0 is no time at all.
    pub fn of_stream(self, asked: Duration) -> Duration {
        let limit = self.max.map_or(asked, |max| asked.min(max));
        limit.saturating_sub(self.offset)
    }
}

fn path_rewrite(action: &proto::RouteAction) -> Result<Option<PathRewrite>, CompileError> {
    if let Some(policy) = &action.path_rewrite_policy {
        return Err(CompileError::unknown_extension(
            "path rewrite policy",
            &policy.name,
            "",
        ));
    }
    if !action.path_rewrite.is_empty() {
        return Err(CompileError::new("is not supported").at("path_rewrite"));
    }
    Ok(match (&action.regex_rewrite, &*action.prefix_rewrite) {
        (Some(_), prefix) if !prefix.is_empty() => {
            return Err(CompileError::new(
                "prefix_rewrite and regex_rewrite exclude each other",
            ));
        }
        (Some(rewrite), _) => Some(PathRewrite::Regex(
            Substitution::compile(rewrite).at("regex_rewrite")?,
        )),
        (None, "") => None,
        (None, prefix) => Some(PathRewrite::Prefix(prefix.into())),
    })
}

fn host_rewrite(action: &proto::RouteAction) -> Result<Option<HostRewrite>, CompileError> {
    Ok(match &action.host_rewrite_specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => {
            Some(HostRewrite::Literal(host.as_str().into()))
        }
        Some(HostRewriteSpecifier::AutoHostRewrite(BoolValue { value })) => {
            value.then_some(HostRewrite::Auto)
        }
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) => {
            Some(HostRewrite::Header(name.as_str().into()))
        }
        Some(HostRewriteSpecifier::HostRewritePathRegex(rewrite)) => Some(HostRewrite::PathRegex(
            Substitution::compile(rewrite).at("host_rewrite_path_regex")?,
        )),
        Some(HostRewriteSpecifier::HostRewrite(_)) => {
            return Err(CompileError::new("is not supported").at("host_rewrite"));
        }
        None => None,
    })
}

fn mirrors(policies: &[RequestMirrorPolicy]) -> Result<Vec<Mirror>, CompileError> {
    let compile = |(index, policy): (usize, &RequestMirrorPolicy)| {
        let field = format_args!("request_mirror_policies[{index}]");
        if policy.cluster.is_empty() {
            return Err(CompileError::new("is required").at("cluster")).at(field);
        }
        Ok(Mirror {
            cluster: policy.cluster.as_str().into(),
            fraction: Fraction::from_runtime(policy.runtime_fraction.as_ref()),
            shadow_suffix: !policy.disable_shadow_host_suffix_append,
            host_rewrite: Some(policy.host_rewrite_literal.as_str())
                .filter(|host| !host.is_empty())
                .map(Into::into),
        })
    };
    policies.iter().enumerate().map(compile).collect()
}

impl ClusterChoice {
    fn compile(specifier: Option<&ClusterSpecifier>) -> Result<Self, CompileError> {
        Ok(match specifier {
            Some(ClusterSpecifier::Cluster(name)) => ClusterChoice::One(name.as_str().into()),
            Some(ClusterSpecifier::ClusterHeader(name)) => {
                ClusterChoice::Header(name.to_ascii_lowercase().into())
            }
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                ClusterChoice::Weighted(Weighted::compile(weighted).at("weighted_clusters")?)
            }
            Some(ClusterSpecifier::ClusterSpecifierPlugin(name)) => {
                return Err(CompileError::unknown_extension(
                    "cluster specifier",
                    name,
                    "",
                ));
            }
            Some(ClusterSpecifier::InlineClusterSpecifierPlugin(_)) => {
                return Err(
                    CompileError::new("is not supported").at("inline_cluster_specifier_plugin")
                );
            }
            None => return Err(CompileError::new("names no cluster")),
        })
    }
}

impl Weighted {
    fn compile(weighted: &proto::WeightedCluster) -> Result<Self, CompileError> {
        let compile = |(index, cluster)| {
            WeightedCluster::compile(cluster).at(format_args!("clusters[{index}]"))
        };
        let clusters: Vec<_> = weighted
            .clusters
            .iter()
            .enumerate()
            .map(compile)
            .collect::<Result<_, _>>()?;
        let total = clusters
            .iter()
            .try_fold(0u32, |sum, cluster| sum.checked_add(cluster.weight))
            .ok_or_else(|| CompileError::new("the weights exceed 2^32-1"))?;
        if total == 0 {
            return Err(CompileError::new("the weights are all zero"));
        }
        Ok(Self {
            clusters,
            total,
            turn: AtomicU64::new(fastrand::u64(..)),
        })
    }
}

impl WeightedCluster {
    fn compile(cluster: &proto::weighted_cluster::ClusterWeight) -> Result<Self, CompileError> {
        use proto::weighted_cluster::cluster_weight::HostRewriteSpecifier as HostRewrite;
        if cluster.name.is_empty() {
            return Err(CompileError::new("is required").at("name"));
        }
        Ok(Self {
            name: cluster.name.as_str().into(),
            weight: cluster.weight.as_ref().map_or(0, |weight| weight.value),
            request_headers: HeaderMutations::compile(
                "request_headers",
                &cluster.request_headers_to_add,
                &cluster.request_headers_to_remove,
            )?,
            response_headers: HeaderMutations::compile(
                "response_headers",
                &cluster.response_headers_to_add,
                &cluster.response_headers_to_remove,
            )?,
            host_rewrite: cluster
                .host_rewrite_specifier
                .as_ref()
                .map(|HostRewrite::HostRewriteLiteral(host)| host.as_str().into()),
            filters: RouteFilters::compile(&cluster.typed_per_filter_config)?,
        })
    }
}

impl HashPolicy {
    /// `None` for policies on filter state: there is none that a request could be hashed by.
    fn compile(policy: &proto::route_action::HashPolicy) -> Result<Option<Self>, CompileError> {
        use proto::route_action::hash_policy::PolicySpecifier;
        let kind = match &policy.policy_specifier {
            Some(PolicySpecifier::Header(header)) => HashKind::Header {
                name: header.header_name.to_ascii_lowercase().into_bytes().into(),
                rewrite: match &header.regex_rewrite {
                    Some(rewrite) => {
                        Some(Substitution::compile(rewrite).at("header.regex_rewrite")?)
                    }
                    None => None,
                },
            },
            Some(PolicySpecifier::Cookie(cookie)) => {
                let attributes =
                    cookie
                        .attributes
                        .iter()
                        .map(|attribute| match attribute.value.as_str() {
                            "" => format!("; {}", attribute.name),
                            value => format!("; {}={value}", attribute.name),
                        });
                HashKind::Cookie(HashCookie {
                    name: cookie.name.as_str().into(),
                    ttl: cookie.ttl.as_ref().map(to_std),
                    path: cookie.path.as_str().into(),
                    attributes: attributes.collect::<String>().into(),
                })
            }
            Some(PolicySpecifier::ConnectionProperties(connection)) if connection.source_ip => {
                HashKind::SourceIp
            }
            Some(PolicySpecifier::QueryParameter(query)) => {
                HashKind::Query(query.name.as_str().into())
            }
            Some(PolicySpecifier::ConnectionProperties(_) | PolicySpecifier::FilterState(_)) => {
                return Ok(None);
            }
            None => return Err(CompileError::new("names no policy")),
        };
        Ok(Some(Self {
            kind,
            terminal: policy.terminal,
        }))
    }

    fn hash(
        &self,
        head: &RequestHead,
        source: IpAddr,
        set_cookies: &mut Vec<String>,
    ) -> Option<u64> {
        match &self.kind {
            HashKind::SourceIp => Some(xxh64(source.to_string().as_bytes(), 0)),
            HashKind::Query(name) => {
                let value = matcher::query_parameter(head.query(), name)?;
                Some(xxh64(value.as_bytes(), 0))
            }
            HashKind::Header { name, rewrite } => header_hash(head, name, rewrite.as_ref()),
            HashKind::Cookie(cookie) => match matcher::cookie(head, &cookie.name) {
                Some(value) if !value.is_empty() => Some(xxh64(value.as_bytes(), 0)),
                _ => cookie.generate(set_cookies),
            },
        }
    }
}

/// The hash of all values of a header, whose order says nothing: that of each is the seed for the next.
fn header_hash(head: &RequestHead, name: &[u8], rewrite: Option<&Substitution>) -> Option<u64> {
    let mut values: Vec<Cow<'_, [u8]>> = match head.pseudo(name) {
        Some(value) => vec![value.as_bytes().into()],
        None => head.headers.get_all_named(name).map(Cow::from).collect(),
    };
    if values.is_empty() {
        return None;
    }
    if let Some(rewrite) = rewrite {
        for value in &mut values {
            let rewritten = rewrite.apply(std::str::from_utf8(value).ok()?).into_owned();
            *value = rewritten.into_bytes().into();
        }
    }
    values.sort_unstable();
    Some(values.iter().fold(0, |seed, value| xxh64(value, seed)))
}

impl HashCookie {
    fn generate(&self, set_cookies: &mut Vec<String>) -> Option<u64> {
        let ttl = self.ttl?;
        let value = format!("{:016x}", fastrand::u64(..));
        let mut text = format!("{}=\"{value}\"", self.name);
        if !ttl.is_zero() {
            text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
        }
        if !self.path.is_empty() {
            text.push_str(&format!("; Path={}", self.path));
        }
        text.push_str(&self.attributes);
        text.push_str("; HttpOnly");
        set_cookies.push(text);
        Some(xxh64(value.as_bytes(), 0))
    }
}

/// `RedirectAction`.
#[derive(Debug)]
pub struct Redirect {
    pub status: u16,
    scheme: Option<Box<str>>,
    host: Option<Box<str>>,
    port: Option<u16>,
    path: RedirectPath,
    strip_query: bool,
}

#[derive(Debug)]
enum RedirectPath {
    Keep,
    Replace(Box<str>),
    Rewrite(PathRewrite),
}

impl Redirect {
    /// # Errors
    /// Invalid expressions, impossible ports, what this proxy does not have.
    pub fn compile(action: &proto::RedirectAction) -> Result<Self, CompileError> {
        use proto::redirect_action::{
            PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
        };
        let port = match action.port_redirect {
            0 => None,
            port => Some(u16::try_from(port).map_err(|_| {
                CompileError::new(format!("{port} is not a port")).at("port_redirect")
            })?),
        };
        let path = match &action.path_rewrite_specifier {
            Some(PathRewriteSpecifier::PathRedirect(path)) => {
                RedirectPath::Replace(path.as_str().into())
            }
            Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
                RedirectPath::Rewrite(PathRewrite::Prefix(prefix.as_str().into()))
            }
            Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => RedirectPath::Rewrite(
                PathRewrite::Regex(Substitution::compile(rewrite).at("regex_rewrite")?),
            ),
            Some(PathRewriteSpecifier::PathRewrite(_)) => {
                return Err(CompileError::new("is not supported").at("path_rewrite"));
            }
            None => RedirectPath::Keep,
        };
        Ok(Self {
            status: match action.response_code() {
                RedirectResponseCode::MovedPermanently => 301,
                RedirectResponseCode::Found => 302,
                RedirectResponseCode::SeeOther => 303,
                RedirectResponseCode::TemporaryRedirect => 307,
                RedirectResponseCode::PermanentRedirect => 308,
            },
            scheme: match &action.scheme_rewrite_specifier {
                Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
                Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => {
                    Some(scheme.to_ascii_lowercase().into())
                }
                Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
            },
            host: Some(action.host_redirect.as_str())
                .filter(|host| !host.is_empty())
                .map(Into::into),
            port,
            path,
            strip_query: action.strip_query,
        })
    }

    /// The value of `Location`.
    pub fn location(&self, matched: &PathMatcher, head: &RequestHead) -> String {
        let scheme = self.scheme.as_deref().unwrap_or(head.scheme.as_str());
        let host = match &self.host {
            Some(host) => host,
            None => self.request_host(head.authority(), scheme),
        };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!(
            "{scheme}://{host}{port}{}",
            self.new_path(matched, head.path())
        )
    }

    /// The request's host, without a port that is replaced or that was the default of the old scheme.
    fn request_host<'a>(&self, authority: &'a str, scheme: &str) -> &'a str {
        let (host, port) = split_port(authority);
        let default_of_other = match scheme {
            "https" => "80",
            "http" => "443",
            _ => "",
        };
        let drop = self.port.is_some() || (self.scheme.is_some() && port == Some(default_of_other));
        if drop { host } else { authority }
    }

    fn new_path(&self, matched: &PathMatcher, path: &str) -> String {
        let (new, query) = match &self.path {
            RedirectPath::Keep => (path.to_owned(), None),
            RedirectPath::Rewrite(rewrite) => (rewrite.apply(matched, path), None),
            RedirectPath::Replace(new) => {
                let own_query = new.contains('?');
                (new.to_string(), split_query(path).1.filter(|_| !own_query))
            }
        };
        match (self.strip_query, query) {
            (true, _) if !matches!(self.path, RedirectPath::Replace(_)) => {
                split_query(&new).0.to_owned()
            }
            (false, Some(query)) => format!("{new}?{query}"),
            _ => new,
        }
    }
}

/// Splits `host:port`; brackets of IPv6 addresses stay with the host.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']')) =>
        {
            (host, Some(port))
        }
        _ => (authority, None),
    }
}

/// `DirectResponseAction`.
#[derive(Debug)]
pub struct DirectResponse {
    pub status: u16,
    pub body: Bytes,
}

impl DirectResponse {
    /// # Errors
    /// An impossible status, a body that is too large or comes from where this proxy does not read.
    pub fn compile(
        action: &proto::DirectResponseAction,
        max_body: usize,
    ) -> Result<Self, CompileError> {
        use core::data_source::Specifier;
        let status = u16::try_from(action.status)
            .ok()
            .filter(|status| (200..600).contains(status))
            .ok_or_else(|| {
                CompileError::new(format!("{} is not a final status", action.status)).at("status")
            })?;
        if action.body_format.is_some() {
            return Err(CompileError::new("is not supported").at("body_format"));
        }
        let source = action
            .body
            .as_ref()
            .and_then(|body| body.specifier.as_ref());
        let body = match source {
            Some(Specifier::InlineString(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Some(Specifier::InlineBytes(bytes)) => Bytes::copy_from_slice(bytes),
            Some(Specifier::EnvironmentVariable(name)) => {
                let value = std::env::var(name);
                value.map(Bytes::from).map_err(|_| {
                    CompileError::new(format!("{name} is not set")).at("body.environment_variable")
                })?
            }
            Some(Specifier::Filename(path)) => {
                std::fs::read(path).map(Bytes::from).map_err(|error| {
                    CompileError::new(format!("{path}: {error}")).at("body.filename")
                })?
            }
            None => Bytes::new(),
        };
        if body.len() > max_body {
            return Err(CompileError::new(format!(
                "{} bytes exceed the limit of {max_body}",
                body.len()
            ))
            .at("body"));
        }
        Ok(Self { status, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_of_0_is_none_for_responses_and_no_time_for_streams() {
        let millis = Duration::from_millis;
        let rule = GrpcTimeout {
            max: Some(millis(1000)),
            offset: millis(100),
        };
        let unlimited = GrpcTimeout { max: None, ..rule };
        for (asked, response, stream) in [(500, 400, 400), (5000, 1000, 900), (100, 100, 0)] {
            assert_eq!(
                rule.of_response(Some(millis(asked))),
                Some(millis(response))
            );
            assert_eq!(rule.of_stream(millis(asked)), millis(stream));
        }
        assert_eq!(rule.of_response(Some(Duration::ZERO)), rule.max);
        assert_eq!(unlimited.of_response(Some(Duration::ZERO)), None);
        assert_eq!(unlimited.of_response(None), None);
        assert_eq!(unlimited.of_stream(millis(5000)), millis(4900));
    }
}
