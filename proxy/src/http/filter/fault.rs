//! The filter `envoy.filters.http.fault`: delays and aborts requests on purpose.

use std::cell::Cell;
use std::time::Duration;

use ironsail_xds::ext::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use ironsail_xds::ext::filters::http::fault::v3 as proto;
use proto::fault_abort::ErrorType;

use crate::http::message::RequestHead;
use crate::resource::{At, CompileError};
use crate::route::matcher::{Fraction, HeaderMatcher};

const DELAY_HEADER: &[u8] = b"x-envoy-fault-delay-request";
const DELAY_PERCENT_HEADER: &[u8] = b"x-envoy-fault-delay-request-percentage";
const ABORT_HEADER: &[u8] = b"x-envoy-fault-abort-request";
const ABORT_GRPC_HEADER: &[u8] = b"x-envoy-fault-abort-grpc-request";
const ABORT_PERCENT_HEADER: &[u8] = b"x-envoy-fault-abort-request-percentage";
const NODE_HEADER: &[u8] = b"x-envoy-downstream-service-node";

/// Compiled `HTTPFault`.
#[derive(Debug, Default)]
pub struct Fault {
    delay: Option<(Fraction, Delay)>,
    abort: Option<(Fraction, Abort)>,
    body: Option<Box<str>>,
    /// Only requests to this cluster.
    cluster: Option<Box<str>>,
    headers: Vec<HeaderMatcher>,
    nodes: Vec<Box<str>>,
    /// Faults at a time on one worker.
    max_active: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Delay {
    Fixed(Duration),
    Header,
}

#[derive(Clone, Copy, Debug)]
enum Abort {
    With(AbortStatus),
    Header,
}

/// How an aborted request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    Http(u16),
    Grpc(u32),
}

thread_local! {
    static ACTIVE: Cell<u32> = const { Cell::new(0) };
}

/// Counts as an active fault until dropped.
#[derive(Debug)]
pub struct ActiveFault(());

impl ActiveFault {
    fn begin() -> Self {
        ACTIVE.with(|active| active.set(active.get().saturating_add(1)));
        Self(())
    }
}

impl Drop for ActiveFault {
    fn drop(&mut self) {
        ACTIVE.with(|active| active.set(active.get().saturating_sub(1)));
    }
}

/// What is done to one request.
#[derive(Debug, Default)]
pub struct Injected {
    pub delay: Option<Duration>,
    pub abort: Option<AbortStatus>,
    pub active: Option<ActiveFault>,
}

impl Fault {
    /// # Errors
    /// Impossible statuses, and response rate limits, which this proxy does not have.
    pub fn compile(config: &proto::HttpFault) -> Result<Self, CompileError> {
        if config.response_rate_limit.is_some() {
            return Err(CompileError::new("is not supported").at("response_rate_limit"));
        }
        let headers = config.headers.iter().enumerate().map(|(index, matcher)| {
            HeaderMatcher::compile(matcher).at(format_args!("headers[{index}]"))
        });
        let delay = config.delay.as_ref().and_then(|delay| {
            let fraction = Fraction::from_percent(delay.percentage.as_ref(), 0);
            let delay = match delay.fault_delay_secifier.as_ref()? {
                FaultDelaySecifier::FixedDelay(delay) => Delay::Fixed(ironsail_xds::to_std(delay)),
                FaultDelaySecifier::HeaderDelay(_) => Delay::Header,
            };
            Some((fraction, delay))
        });
        let abort = match &config.abort {
            None => None,
            Some(abort) => compile_abort(abort).at("abort")?,
        };
        Ok(Self {
            delay,
            abort,
            body: config
                .abort
                .as_ref()
                .map(|abort| abort.response_body.as_str())
                .filter(|body| !body.is_empty())
                .map(Into::into),
            cluster: Some(config.upstream_cluster.as_str())
                .filter(|cluster| !cluster.is_empty())
                .map(Into::into),
            headers: headers.collect::<Result<_, _>>()?,
            nodes: config
                .downstream_nodes
                .iter()
                .map(|node| node.as_str().into())
                .collect(),
            max_active: config.max_active_faults.as_ref().map(|max| max.value),
        })
    }

    /// Whether nothing would ever be injected.
    pub fn is_inert(&self) -> bool {
        self.delay.is_none() && self.abort.is_none()
    }

    /// Body of aborted requests; Envoy's words unless configured.
    pub fn body(&self) -> &str {
        self.body.as_deref().unwrap_or("fault filter abort")
    }

    /// Decides about one request, which goes to `cluster`.
    pub fn inject(&self, head: &RequestHead, cluster: Option<&str>) -> Injected {
        if self.is_inert() || !self.concerns(head, cluster) {
            return Injected::default();
        }
        let delay = self.delay.and_then(|(fraction, delay)| {
            let wanted = match delay {
                Delay::Fixed(delay) => Some(delay),
                Delay::Header => number(head, DELAY_HEADER).map(Duration::from_millis),
            };
            wanted.filter(|_| drawn(fraction, head, DELAY_PERCENT_HEADER))
        });
        let abort = self.abort.and_then(|(fraction, abort)| {
            let wanted = match abort {
                Abort::With(status) => Some(status),
                Abort::Header => status_from_headers(head),
            };
            wanted.filter(|_| drawn(fraction, head, ABORT_PERCENT_HEADER))
        });
        if delay.is_none() && abort.is_none() {
            return Injected::default();
        }
        let active = ACTIVE.with(Cell::get);
        if self.max_active.is_some_and(|max| active >= max) {
            return Injected::default();
        }
        Injected {
            delay,
            abort,
            active: Some(ActiveFault::begin()),
        }
    }

    fn concerns(&self, head: &RequestHead, cluster: Option<&str>) -> bool {
        let node = || {
            let node = head.headers.get_named(NODE_HEADER).unwrap_or_default();
            self.nodes.iter().any(|wanted| wanted.as_bytes() == node)
        };
        self.cluster
            .as_deref()
            .is_none_or(|wanted| cluster == Some(wanted))
            && (self.nodes.is_empty() || node())
            && self.headers.iter().all(|header| header.matches(head))
    }
}

fn compile_abort(abort: &proto::FaultAbort) -> Result<Option<(Fraction, Abort)>, CompileError> {
    let fraction = Fraction::from_percent(abort.percentage.as_ref(), 0);
    let status = match &abort.error_type {
        Some(ErrorType::HttpStatus(status)) => {
            let status = u16::try_from(*status)
                .ok()
                .filter(|status| (200..600).contains(status))
                .ok_or_else(|| {
                    CompileError::new(format!("{status} is not a final status")).at("http_status")
                })?;
            Abort::With(AbortStatus::Http(status))
        }
        Some(ErrorType::GrpcStatus(status)) => Abort::With(AbortStatus::Grpc(*status)),
        Some(ErrorType::HeaderAbort(_)) => Abort::Header,
        None => return Ok(None),
    };
    Ok(Some((fraction, status)))
}

fn number(head: &RequestHead, name: &[u8]) -> Option<u64> {
    let value = head.headers.get_named(name)?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A header may lower the share, never raise it.
fn drawn(fraction: Fraction, head: &RequestHead, percent: &[u8]) -> bool {
    let by_header = number(head, percent).is_none_or(|percent| fastrand::u64(..100) < percent);
    by_header && fraction.draw()
}

fn status_from_headers(head: &RequestHead) -> Option<AbortStatus> {
    if let Some(status) = number(head, ABORT_HEADER) {
        let status = u16::try_from(status).ok()?;
        return (200..600)
            .contains(&status)
            .then_some(AbortStatus::Http(status));
    }
    let status = number(head, ABORT_GRPC_HEADER)?;
    u32::try_from(status).ok().map(AbortStatus::Grpc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::message::Method;
    use ironsail_xds::kind::FractionalPercent;

    fn abort(status: u32, percent: u32) -> proto::HttpFault {
        proto::HttpFault {
            abort: Some(proto::FaultAbort {
                percentage: Some(FractionalPercent {
                    numerator: percent,
                    denominator: 0,
                }),
                error_type: Some(ErrorType::HttpStatus(status)),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn aborts_the_share_that_is_asked_for() {
        let head = RequestHead::new(Method::Get, "h", "/");
        let fault = Fault::compile(&abort(503, 100)).expect("valid");
        assert_eq!(
            fault.inject(&head, None).abort,
            Some(AbortStatus::Http(503))
        );
        let never = Fault::compile(&abort(503, 0)).expect("valid");
        assert_eq!(never.inject(&head, None).abort, None);
        assert!(Fault::compile(&abort(99, 100)).is_err());
    }

    #[test]
    fn only_matching_requests_and_so_many_at_a_time() {
        let mut config = abort(418, 100);
        config.upstream_cluster = "a".to_owned();
        config.max_active_faults = Some(ironsail_xds::protobuf::UInt32Value { value: 1 });
        let fault = Fault::compile(&config).expect("valid");
        let head = RequestHead::new(Method::Get, "h", "/");
        assert!(fault.inject(&head, Some("b")).abort.is_none());
        let first = fault.inject(&head, Some("a"));
        assert!(first.abort.is_some());
        assert!(fault.inject(&head, Some("a")).abort.is_none());
        drop(first);
        assert!(fault.inject(&head, Some("a")).abort.is_some());
    }
}
