//! What comes of an attempt that failed: whether another one may help, and the answer if there is none.

use h2::Reason;

use super::attempt::Ended;
use super::deadline::Expired;
use crate::access_log::Flag;
use crate::http::codec::h1::StreamError;
use crate::http::connection_manager::exchange::Exchange;
use crate::http::connection_manager::local_reply::LocalReply;
use crate::http::pool::{ConnectFailure, ConnectFailureKind};
use crate::http::stream::Downstream;
use crate::route::Failure;

/// The end of a stream before its response; `sent` tells whether the host can have seen the request.
pub(super) fn failed(error: &StreamError, sent: bool) -> Ended {
    let refused = ResetText {
        reason: "remote refused stream reset",
        details: "remote_refused_stream_reset",
    };
    let (failure, text, status, flag) = match error {
        StreamError::Protocol(_) => (
            Failure::Reset { sent },
            ResetText {
                reason: "protocol error",
                details: "protocol_error",
            },
            502,
            Flag::UpstreamProtocolError,
        ),
        StreamError::H2(error)
            if error.reason() == Some(Reason::REFUSED_STREAM) || error.is_go_away() =>
        {
            (
                Failure::RefusedStream,
                refused,
                503,
                Flag::UpstreamRemoteReset,
            )
        }
        StreamError::H2(error) if error.is_reset() => (
            Failure::Reset { sent },
            ResetText {
                reason: "remote reset",
                details: "remote_reset",
            },
            503,
            Flag::UpstreamRemoteReset,
        ),
        StreamError::Io(_) | StreamError::Closed | StreamError::H2(_) => (
            Failure::Reset { sent },
            ResetText {
                reason: "connection termination",
                details: "connection_termination",
            },
            503,
            Flag::UpstreamConnectionTermination,
        ),
    };
    Ended::Failed {
        failure,
        reply: reset_reply(status, &text, None, flag),
    }
}

pub(super) fn is_end_of_connection(error: &StreamError) -> bool {
    match error {
        StreamError::Io(_) | StreamError::Closed => true,
        StreamError::H2(error) => !error.is_reset(),
        StreamError::Protocol(_) => false,
    }
}

pub(super) fn timed_out(expired: Expired, downstream: &Downstream) -> Ended {
    let reply = late_reply(expired, downstream);
    match expired {
        Expired::Stream | Expired::Idle | Expired::Request => Ended::Refused(reply),
        _ => Ended::TimedOut(reply),
    }
}

/// The answer when time is up: it is the server that is late once the whole request is there.
pub(in crate::http::filter) fn late_reply(expired: Expired, downstream: &Downstream) -> LocalReply {
    let complete = downstream.is_request_done();
    let late = if complete { 504 } else { 408 };
    let upstream_late = |details: &'static str| {
        LocalReply::new(504, "upstream request timeout", details).flag(Flag::UpstreamRequestTimeout)
    };
    match expired {
        Expired::Whole => upstream_late("response_timeout"),
        Expired::PerTry => upstream_late("upstream_per_try_timeout"),
        Expired::PerTryIdle => upstream_late("upstream_per_try_idle_timeout"),
        Expired::UpstreamStream => LocalReply::new(
            late,
            "upstream max stream duration reached",
            "upstream_max_stream_duration_reached",
        )
        .flag(Flag::UpstreamMaxStreamDurationReached),
        Expired::Stream => LocalReply {
            grpc_status: Some(4),
            ..LocalReply::new(late, "downstream duration timeout", "max_duration_timeout")
        },
        Expired::Idle => LocalReply {
            close: !complete,
            ..LocalReply::new(late, "stream timeout", "stream_idle_timeout")
                .flag(Flag::StreamIdleTimeout)
        },
        Expired::Request => LocalReply {
            close: !complete,
            ..LocalReply::late_request()
        },
    }
}

pub(super) fn connect_failed(exchange: &mut Exchange, failure: ConnectFailure) -> Ended {
    let ConnectFailure { kind, reason } = failure;
    if kind == ConnectFailureKind::Overflow {
        // Not even tried.
        exchange.info.upstream.remote = None;
        return Ended::Refused(super::overflow());
    }
    let text = match kind {
        ConnectFailureKind::Timeout => ResetText {
            reason: "connection timeout",
            details: "connection_timeout",
        },
        _ => ResetText {
            reason: "remote connection failure",
            details: "remote_connection_failure",
        },
    };
    let reply = reset_reply(503, &text, Some(&reason), Flag::UpstreamConnectionFailure);
    if !reason.is_empty() {
        exchange.info.upstream.failure = Some(reason.into());
    }
    Ended::Failed {
        failure: Failure::Connect,
        reply,
    }
}

/// Names of failures in Envoy's words.
pub(super) struct ResetText {
    pub(super) reason: &'static str,
    pub(super) details: &'static str,
}

/// The answer to a request whose stream failed before its response.
pub(super) fn reset_reply(
    status: u16,
    text: &ResetText,
    transport: Option<&str>,
    flag: Flag,
) -> LocalReply {
    let ResetText { reason, details } = text;
    let body = format!(
        "upstream connect error or disconnect/reset before headers. reset reason: {reason}"
    );
    let mut code_details = format!("upstream_reset_before_response_started{{{details}}}");
    if let Some(transport) = transport.filter(|transport| !transport.is_empty()) {
        code_details = format!(
            "upstream_reset_before_response_started{{{details}|{}}}",
            transport.replace(' ', "_")
        );
    }
    LocalReply::new(status, body, code_details).flag(flag)
}
