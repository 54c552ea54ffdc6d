//! Route tables: which virtual host, which route, and what the route does.
//!
//! Compiled once from `RouteConfiguration`; matching does not allocate.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route.proto>.

mod action;
mod back_off;
mod cluster_choice;
mod direct_response;
mod filter_config;
mod hash_policy;
mod header_mutation;
pub mod matcher;
mod redirect;
mod regex;
pub mod retry;
mod rewrite;
#[cfg(test)]
mod tests;
mod upgrade;
mod virtual_host;

use std::sync::Arc;

use ironsail_xds::route as proto;

pub use action::{Action, Forward, GrpcTimeout, Mirror, StreamLimit};
pub use cluster_choice::{ClusterChoice, WeightedCluster};
pub use direct_response::DirectResponse;
pub use filter_config::{RouteFilters, Setting};
pub use hash_policy::RequestHash;
pub use header_mutation::{Evaluated, HeaderMutations};
pub use redirect::Redirect;
pub use regex::FullRegex;
pub use retry::{Failure, RetryOn, RetryPolicy};
pub use rewrite::{HostRewrite, PathRewrite};
pub use virtual_host::split_port;

use crate::conn::ConnectionInfo;
use crate::http::message::RequestHead;
use crate::resource::{At, CompileError};
use matcher::RouteMatcher;
use virtual_host::HostIndex;

/// Compiled `RouteConfiguration`.
#[derive(Debug)]
pub struct RouteTable {
    pub name: Arc<str>,
    hosts: Vec<VirtualHost>,
    index: HostIndex,
    ignore_port: bool,
    ignore_path_parameters: bool,
    /// Mutations of the outer levels come first, so that those of the route have the last word.
    most_specific_wins: bool,
    request_headers: HeaderMutations,
    response_headers: HeaderMutations,
    /// Headers that clients outside may not set.
    pub internal_only_headers: Vec<Box<[u8]>>,
    /// Routes that could not be compiled and match nothing.
    pub warnings: Vec<CompileError>,
}

/// Compiled `VirtualHost`.
#[derive(Debug)]
pub struct VirtualHost {
    pub name: Arc<str>,
    routes: Vec<Route>,
    require_tls: RequireTls,
    request_headers: HeaderMutations,
    response_headers: HeaderMutations,
    /// Tell the upstream which attempt it sees.
    pub include_attempt_count: bool,
    pub include_attempt_count_in_response: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequireTls {
    No,
    External,
    All,
}

/// Compiled `Route`.
#[derive(Debug)]
pub struct Route {
    pub name: Arc<str>,
    matcher: RouteMatcher,
    pub action: Action,
    /// With those of the virtual host and the table where the route says nothing.
    pub filters: RouteFilters,
    pub decorator: Option<Decorator>,
    /// Body bytes kept for retries and mirrors; `None`: the listener's limit.
    pub buffer_limit: Option<usize>,
    request_headers: HeaderMutations,
    response_headers: HeaderMutations,
}

/// Name of the operation that requests of a route perform.
#[derive(Debug)]
pub struct Decorator {
    pub operation: Box<str>,
    /// Tell the other side in `x-envoy-decorator-operation`.
    pub propagate: bool,
}

/// A route that matched, with the levels around it.
#[derive(Clone, Copy, Debug)]
pub struct RouteMatch<'t> {
    pub table: &'t RouteTable,
    pub host: &'t VirtualHost,
    pub route: &'t Route,
}

/// What was found for a request.
#[derive(Clone, Copy, Debug)]
pub enum Found<'t> {
    Route(RouteMatch<'t>),
    /// The virtual host wants HTTPS: the client is sent there.
    NeedsTls,
    Nothing,
}

impl RouteTable {
    /// # Errors
    /// Malformed virtual hosts and actions. A route whose match cannot be compiled matches nothing and is listed in
    /// [`RouteTable::warnings`].
    pub fn compile(config: &proto::RouteConfiguration) -> Result<Self, CompileError> {
        let mut warnings = Vec::new();
        let max_body = config
            .max_direct_response_body_size_bytes
            .as_ref()
            .map_or(direct_response::DEFAULT_MAX_BODY, |max| max.value as usize);
        let filters = RouteFilters::compile(&config.typed_per_filter_config)?;
        if !config.vhost_header.is_empty() {
            return Err(CompileError::new("is not supported").at("vhost_header"));
        }
        let mut index = HostIndex::default();
        let mut hosts = Vec::with_capacity(config.virtual_hosts.len());
        for (number, host) in config.virtual_hosts.iter().enumerate() {
            let field = format!("virtual_hosts[{number}]");
            for (position, domain) in host.domains.iter().enumerate() {
                index
                    .add(domain, number)
                    .at(format_args!("domains[{position}]"))
                    .at(&field)?;
            }
            let mut scope = Scope {
                table: config,
                max_body,
                filters: &filters,
                warnings: &mut warnings,
            };
            hosts.push(VirtualHost::compile(host, &field, &mut scope).at(&field)?);
        }
        index.finish();
        for warning in &warnings {
            tracing::warn!(route = config.name, error = %warning, "Route matches nothing");
        }
        Ok(Self {
            name: config.name.as_str().into(),
            hosts,
            index,
            ignore_port: config.ignore_port_in_host_matching,
            ignore_path_parameters: config.ignore_path_parameters_in_path_matching,
            most_specific_wins: config.most_specific_header_mutations_wins,
            request_headers: HeaderMutations::compile(
                "request_headers",
                &config.request_headers_to_add,
                &config.request_headers_to_remove,
            )?,
            response_headers: HeaderMutations::compile(
                "response_headers",
                &config.response_headers_to_add,
                &config.response_headers_to_remove,
            )?,
            internal_only_headers: config
                .internal_only_headers
                .iter()
                .map(|name| name.to_ascii_lowercase().into_bytes().into())
                .collect(),
            warnings,
        })
    }

    /// Finds the route of a request; the first one that matches counts.
    pub fn find(&self, head: &RequestHead, connection: &ConnectionInfo) -> Found<'_> {
        let Some(host) = self
            .index
            .find(head.authority(), self.ignore_port)
            .and_then(|number| self.hosts.get(number))
        else {
            return Found::Nothing;
        };
        if host.needs_tls(head) {
            return Found::NeedsTls;
        }
        let path = head.path_only();
        let stripped;
        let path = if self.ignore_path_parameters && path.contains(';') {
            stripped = without_parameters(path);
            &stripped
        } else {
            path
        };
        host.routes
            .iter()
            .find(|route| route.matcher.matches(path, head, connection))
            .map_or(Found::Nothing, |route| {
                Found::Route(RouteMatch {
                    table: self,
                    host,
                    route,
                })
            })
    }

    /// Names of the clusters that routes name.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.hosts
            .iter()
            .flat_map(|host| &host.routes)
            .filter_map(|route| match &route.action {
                Action::Forward(forward) => Some(forward.clusters()),
                _ => None,
            })
            .flatten()
    }
}

/// What virtual hosts and routes need of the table while they are compiled.
struct Scope<'a> {
    table: &'a proto::RouteConfiguration,
    max_body: usize,
    filters: &'a RouteFilters,
    warnings: &'a mut Vec<CompileError>,
}

impl VirtualHost {
    fn compile(
        host: &proto::VirtualHost,
        field: &str,
        scope: &mut Scope<'_>,
    ) -> Result<Self, CompileError> {
        if host.domains.is_empty() {
            return Err(CompileError::new("is empty").at("domains"));
        }
        if host.matcher.is_some() {
            return Err(CompileError::new("is not supported").at("matcher"));
        }
        let filters = RouteFilters::compile(&host.typed_per_filter_config)?.or(scope.filters);
        let mirrors = match host.request_mirror_policies.as_slice() {
            [] => &scope.table.request_mirror_policies,
            own => own,
        };
        let mut routes = Vec::with_capacity(host.routes.len());
        for (number, route) in host.routes.iter().enumerate() {
            let name = format!("routes[{number}]");
            let compiled =
                Route::compile(route, host, mirrors, &filters, scope.max_body).at(&name)?;
            scope
                .warnings
                .extend(compiled.1.map(|warning| warning.at(&name).at(field)));
            routes.push(compiled.0);
        }
        Ok(Self {
            name: host.name.as_str().into(),
            routes,
            require_tls: match host.require_tls() {
                proto::virtual_host::TlsRequirementType::None => RequireTls::No,
                proto::virtual_host::TlsRequirementType::ExternalOnly => RequireTls::External,
                proto::virtual_host::TlsRequirementType::All => RequireTls::All,
            },
            request_headers: HeaderMutations::compile(
                "request_headers",
                &host.request_headers_to_add,
                &host.request_headers_to_remove,
            )?,
            response_headers: HeaderMutations::compile(
                "response_headers",
                &host.response_headers_to_add,
                &host.response_headers_to_remove,
            )?,
            include_attempt_count: host.include_request_attempt_count,
            include_attempt_count_in_response: host.include_attempt_count_in_response,
        })
    }

    fn needs_tls(&self, head: &RequestHead) -> bool {
        use crate::http::header_name::Known;
        let secure = || head.headers.get(Known::ForwardedProto) == Some(b"https");
        let internal = || head.headers.get(Known::EnvoyInternal) == Some(b"true");
        match self.require_tls {
            RequireTls::No => false,
            RequireTls::All => !secure(),
            RequireTls::External => !secure() && !internal(),
        }
    }
}

impl Route {
    #[allow(deprecated)]
    fn compile(
        route: &proto::Route,
        host: &proto::VirtualHost,
        mirrors: &[proto::route_action::RequestMirrorPolicy],
        filters: &RouteFilters,
        max_body: usize,
    ) -> Result<(Self, Option<CompileError>), CompileError> {
        use proto::route::Action as Kind;
        let asked = route.r#match.clone().unwrap_or_default();
        let (matcher, warning) = match RouteMatcher::compile(&asked) {
            Ok(matcher) => (matcher, None),
            Err(error) => (RouteMatcher::never(), Some(error.at("match"))),
        };
        let action = match &route.action {
            Some(Kind::Route(action)) => Action::Forward(Box::new(
                Forward::compile(action, host.retry_policy.as_ref(), mirrors).at("route")?,
            )),
            Some(Kind::Redirect(action)) => {
                Action::Redirect(Box::new(Redirect::compile(action).at("redirect")?))
            }
            Some(Kind::DirectResponse(action)) => {
                Action::Direct(DirectResponse::compile(action, max_body).at("direct_response")?)
            }
            Some(Kind::FilterAction(_)) => {
                return Err(CompileError::new("is not supported").at("filter_action"));
            }
            Some(Kind::NonForwardingAction(_)) => {
                return Err(CompileError::new("is not supported").at("non_forwarding_action"));
            }
            None => return Err(CompileError::new("names no action")),
        };
        let limit = buffer_limit(
            &route.request_body_buffer_limit,
            &route.per_request_buffer_limit_bytes,
        );
        let host_limit = buffer_limit(
            &host.request_body_buffer_limit,
            &host.per_request_buffer_limit_bytes,
        );
        let compiled = Self {
            name: route.name.as_str().into(),
            matcher,
            action,
            filters: RouteFilters::compile(&route.typed_per_filter_config)?.or(filters),
            decorator: route
                .decorator
                .as_ref()
                .filter(|decorator| !decorator.operation.is_empty())
                .map(|decorator| Decorator {
                    operation: decorator.operation.as_str().into(),
                    propagate: decorator.propagate.is_none_or(|propagate| propagate.value),
                }),
            buffer_limit: limit.or(host_limit),
            request_headers: HeaderMutations::compile(
                "request_headers",
                &route.request_headers_to_add,
                &route.request_headers_to_remove,
            )?,
            response_headers: HeaderMutations::compile(
                "response_headers",
                &route.response_headers_to_add,
                &route.response_headers_to_remove,
            )?,
        };
        Ok((compiled, warning))
    }

    /// What the route's path matcher matched, for rewrites.
    pub fn path_matcher(&self) -> &matcher::PathMatcher {
        &self.matcher.path
    }
}

fn buffer_limit(
    new: &Option<ironsail_xds::protobuf::UInt64Value>,
    old: &Option<ironsail_xds::protobuf::UInt32Value>,
) -> Option<usize> {
    let new = new.as_ref().map(|limit| limit.value);
    let limit = new.or(old.as_ref().map(|limit| limit.value.into()))?;
    Some(usize::try_from(limit).unwrap_or(usize::MAX))
}

impl<'t> RouteMatch<'t> {
    /// Changes to request headers, in the order in which they apply; `weighted` is the chosen weighted cluster.
    pub fn request_mutations(
        &self,
        weighted: Option<&'t WeightedCluster>,
    ) -> impl Iterator<Item = &'t HeaderMutations> {
        self.ordered([
            weighted.map(|cluster| &cluster.request_headers),
            Some(&self.route.request_headers),
            Some(&self.host.request_headers),
            Some(&self.table.request_headers),
        ])
    }

    /// As [`RouteMatch::request_mutations`], for response headers.
    pub fn response_mutations(
        &self,
        weighted: Option<&'t WeightedCluster>,
    ) -> impl Iterator<Item = &'t HeaderMutations> {
        self.ordered([
            weighted.map(|cluster| &cluster.response_headers),
            Some(&self.route.response_headers),
            Some(&self.host.response_headers),
            Some(&self.table.response_headers),
        ])
    }

    fn ordered(
        &self,
        mut levels: [Option<&'t HeaderMutations>; 4],
    ) -> impl Iterator<Item = &'t HeaderMutations> {
        if self.table.most_specific_wins {
            levels.reverse();
        }
        levels
            .into_iter()
            .flatten()
            .filter(|mutations| !mutations.is_empty())
    }
}

/// A path without the parameters of its segments: `/a;x=1/b` is `/a/b`.
pub fn without_parameters(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            out.push('/');
        }
        out.push_str(segment.split(';').next().unwrap_or_default());
    }
    out
}
