//! What the connection manager does to request heads before routing.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers>.

use std::net::{IpAddr, SocketAddr};

use super::config::{HostPolicy, HttpConnectionManager};
use super::local_reply::LocalReply;
use super::path::{self, Normalized};
use super::{client_cert, request_id, upgrade};
use crate::conn::ConnectionInfo;
use crate::http::header_block::HeaderBlock;
use crate::http::header_name::Known;
use crate::http::message::{Method, RequestHead, Scheme};
use crate::resource::listener::TrafficDirection;
use crate::route::split_port;

/// Headers by which only trusted clients may steer the proxy.
const INTERNAL_ONLY: &[Known] = &[
    Known::EnvoyRetryOn,
    Known::EnvoyRetryGrpcOn,
    Known::EnvoyMaxRetries,
    Known::EnvoyUpstreamTimeoutMs,
    Known::EnvoyPerTryTimeoutMs,
    Known::EnvoyExpectedTimeoutMs,
    Known::EnvoyStreamDurationMs,
    Known::EnvoyForceTrace,
    Known::EnvoyRetriableStatusCodes,
    Known::EnvoyRetriableHeaderNames,
];

/// Others of the kind, without a number of their own.
const INTERNAL_ONLY_NAMED: &[&[u8]] = &[
    b"x-envoy-upstream-alt-stat-name",
    b"x-envoy-upstream-rq-timeout-alt-response",
    b"x-envoy-hedge-on-per-try-timeout",
    b"x-envoy-ip-tags",
    b"x-envoy-original-url",
];

/// Headers that clients outside the mesh may not bring in.
const EDGE_ONLY_NAMED: &[&[u8]] = &[
    b"x-envoy-downstream-service-cluster",
    b"x-envoy-downstream-service-node",
];

/// Brings path, host and headers into the form that routing and filters see.
///
/// Returns the trusted address of the client when it differs from the connection's.
///
/// # Errors
/// The answer to a request that goes no further.
pub fn prepare(
    head: &mut RequestHead,
    hcm: &HttpConnectionManager,
    connection: &ConnectionInfo,
) -> Result<Option<SocketAddr>, LocalReply> {
    check_query(head)?;
    normalize_path(head, hcm)?;
    normalize_host(head, &hcm.hosts, connection);
    remove_hop_by_hop(head);
    if head.expects_continue && !hcm.proxy_100_continue {
        head.headers.remove(Known::Expect);
    }
    let internal = trust(head, hcm, connection);
    if let Some(via) = &hcm.via {
        head.headers.append_to_list(Known::Via, via.as_bytes());
    }
    let edge = hcm.addresses.use_remote_address && !internal.internal;
    if edge {
        // A mesh inside trusts these; nobody outside belongs to it.
        head.headers.remove(Known::EnvoyPeerMetadata);
        head.headers.remove(Known::EnvoyPeerMetadataId);
    }
    let replace = edge && !hcm.request_id.preserve_external;
    request_id::apply(
        &mut head.headers,
        &hcm.request_id,
        hcm.tracing.as_ref(),
        replace,
    );
    client_cert::apply(&mut head.headers, &hcm.client_cert, connection);
    if hcm.tracing.is_some() && connection.listener.direction != TrafficDirection::Outbound {
        // Names the span of this proxy; not the application's business.
        head.headers.remove(Known::EnvoyDecoratorOperation);
    }
    Ok(internal.address)
}

/// The method QUERY carries its question in the body, whose type must be told.
/// <https://datatracker.ietf.org/doc/draft-ietf-httpbis-safe-method-w-body/>.
fn check_query(head: &RequestHead) -> Result<(), LocalReply> {
    let has_type = || {
        head.headers
            .get(Known::ContentType)
            .is_some_and(|kind| !kind.is_empty())
    };
    if head.method != Method::Query || has_type() {
        return Ok(());
    }
    Err(LocalReply {
        close: true,
        ..LocalReply::new(400, "", "query_missing_content_type")
    })
}

fn normalize_path(head: &mut RequestHead, hcm: &HttpConnectionManager) -> Result<(), LocalReply> {
    if head.method == Method::Connect && head.path().is_empty() {
        return Ok(());
    }
    if !head.path().starts_with('/') {
        return Err(LocalReply::new(404, "", "absolute_path_rejected"));
    }
    let new = match path::normalize(head.path(), &hcm.paths) {
        Normalized::Forward(std::borrow::Cow::Borrowed(same))
            if same.len() == head.path().len() =>
        {
            return Ok(());
        }
        Normalized::Forward(path) => path.into_owned(),
        Normalized::Redirect(path) => {
            let reply = LocalReply::new(307, "", "path_normalization_failed");
            return Err(reply.header(Known::Location, path.as_bytes()));
        }
        Normalized::Reject(details) => {
            return Err(LocalReply {
                close: true,
                ..LocalReply::new(400, "", details)
            });
        }
    };
    head.set_path(new.as_bytes());
    Ok(())
}

fn normalize_host(head: &mut RequestHead, policy: &HostPolicy, connection: &ConnectionInfo) {
    let HostPolicy {
        strip_any_port,
        strip_matching_port,
        strip_trailing_dot,
    } = *policy;
    if !(strip_any_port || strip_matching_port || strip_trailing_dot) {
        return;
    }
    let authority = head.authority();
    let (host, port) = split_port(authority);
    let own_port = port.is_some_and(|port| port.parse() == Ok(connection.local.port()));
    let drop_port = strip_any_port || (strip_matching_port && own_port);
    let bare = if strip_trailing_dot {
        host.strip_suffix('.').unwrap_or(host)
    } else {
        host
    };
    let new = match port {
        Some(port) if !drop_port => format!("{bare}:{port}"),
        _ => bare.to_owned(),
    };
    if new != authority {
        head.set_authority(new.as_bytes());
    }
}

/// RFC 9110 section 7.6.1: what concerns only this connection. `te: trailers` stays, gRPC servers ask for it.
fn remove_hop_by_hop(head: &mut RequestHead) {
    let headers = &mut head.headers;
    if headers.contains(Known::Connection) {
        remove_nominated(headers);
    }
    for name in [
        Known::KeepAlive,
        Known::ProxyConnection,
        Known::TransferEncoding,
        Known::Http2Settings,
    ] {
        headers.remove(name);
    }
    upgrade::settle(headers, head.upgrade.is_some());
    let keeps_trailers = headers.get_all(Known::Te).any(|value| {
        crate::http::header_block::tokens(value)
            .any(|token| token.eq_ignore_ascii_case(b"trailers"))
    });
    if headers.contains(Known::Te) {
        if keeps_trailers {
            headers.set(Known::Te, b"trailers");
        } else {
            headers.remove(Known::Te);
        }
    }
}

/// Removes the headers that `Connection` names, except those that the proxy itself relies on.
fn remove_nominated(headers: &mut HeaderBlock) {
    let nominated: Vec<Vec<u8>> = headers
        .get_all(Known::Connection)
        .flat_map(crate::http::header_block::tokens)
        .filter(|name| {
            let known = Known::find(name);
            !matches!(
                known,
                Some(
                    Known::ContentLength
                        | Known::ForwardedFor
                        | Known::ForwardedHost
                        | Known::ForwardedProto
                        | Known::Te
                        | Known::Upgrade
                )
            )
        })
        .map(<[u8]>::to_vec)
        .collect();
    for name in nominated {
        headers.remove_named(&name);
    }
}

/// What is believed about the client.
struct Trust {
    /// The client's address, when it is not that of the connection.
    address: Option<SocketAddr>,
    internal: bool,
}

fn trust(
    head: &mut RequestHead,
    hcm: &HttpConnectionManager,
    connection: &ConnectionInfo,
) -> Trust {
    let policy = &hcm.addresses;
    let remote = connection.remote;
    let secure = connection.tls.is_some();
    let proto = if secure { Scheme::Https } else { Scheme::Http };
    let forwarded = head.headers.get_str(Known::ForwardedFor);
    let (address, internal) = if policy.use_remote_address {
        let address = match policy.trusted_hops {
            0 => None,
            hops => forwarded.and_then(|list| from_list(list, hops as usize - 1)),
        };
        // Who comes through others may be anybody behind them.
        let direct = forwarded.is_none();
        let internal = direct && policy.is_internal(remote.ip());
        if !policy.skip_append {
            append_forwarded_for(&mut head.headers, remote.ip());
        }
        if policy.trusted_hops == 0 || !head.headers.contains(Known::ForwardedProto) {
            head.headers
                .set(Known::ForwardedProto, proto.as_str().as_bytes());
        }
        (address, internal)
    } else {
        let address = forwarded.and_then(|list| from_list(list, policy.trusted_hops as usize));
        let single = forwarded.is_some_and(|list| !list.contains(','));
        let internal = single && address.is_some_and(|address| policy.is_internal(address));
        (address, internal)
    };
    if !head.headers.contains(Known::ForwardedProto) {
        head.headers
            .append(Known::ForwardedProto, proto.as_str().as_bytes());
    }
    // Without a trusted hop before this one, what the client says of the port is hearsay.
    let hearsay = policy.use_remote_address && policy.trusted_hops == 0;
    if hcm.append_forwarded_port && (hearsay || !head.headers.contains(Known::ForwardedPort)) {
        let port = connection.local.port().to_string();
        head.headers.set(Known::ForwardedPort, port.as_bytes());
    }
    head.scheme = match head.headers.get(Known::ForwardedProto) {
        Some(proto) if proto.eq_ignore_ascii_case(b"https") => Scheme::Https,
        _ => Scheme::Http,
    };
    if internal {
        head.headers.set(Known::EnvoyInternal, b"true");
    } else {
        remove_internal_only(&mut head.headers, hcm);
        if policy.use_remote_address {
            let address = address.unwrap_or(remote.ip()).to_string();
            head.headers
                .set(Known::EnvoyExternalAddress, address.as_bytes());
        }
    }
    Trust {
        address: address
            .filter(|address| *address != remote.ip())
            .map(|address| SocketAddr::new(address, 0)),
        internal,
    }
}

fn remove_internal_only(headers: &mut HeaderBlock, hcm: &HttpConnectionManager) {
    headers.remove(Known::EnvoyInternal);
    for name in INTERNAL_ONLY {
        headers.remove(*name);
    }
    // Few requests carry any of the others: one look at the prefix spares the search for each.
    let any = headers
        .iter()
        .any(|(name, _)| name.len() > 8 && name[..8].eq_ignore_ascii_case(b"x-envoy-"));
    if !any {
        return;
    }
    for name in INTERNAL_ONLY_NAMED {
        headers.remove_named(name);
    }
    if hcm.addresses.use_remote_address {
        headers.remove(Known::EnvoyDecoratorOperation);
        headers.remove(Known::EnvoyOriginalPath);
        for name in EDGE_ONLY_NAMED {
            headers.remove_named(name);
        }
    }
}

/// The address `skip` places from the end of a `x-forwarded-for` list.
fn from_list(list: &str, skip: usize) -> Option<IpAddr> {
    let text = list.rsplit(',').map(str::trim).nth(skip)?;
    parse_address(text)
}

/// An address, with a port behind it or not.
fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

fn append_forwarded_for(headers: &mut HeaderBlock, address: IpAddr) {
    headers.append_joined(Known::ForwardedFor, b",", address.to_string().as_bytes());
}
