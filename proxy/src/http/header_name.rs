//! Header names that the proxy itself looks at, so that finding them costs a byte comparison.

macro_rules! known_names {
    ($($variant:ident = $text:literal,)*) => {
        /// A header name this proxy gives meaning to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Known {
            $($variant,)*
        }

        /// Every known name with its lower-case text, in the order of the enum.
        const TABLE: &[(Known, &str)] = &[$((Known::$variant, $text),)*];
    };
}

known_names! {
    Te = "te",
    Via = "via",
    Date = "date",
    Host = "host",
    Vary = "vary",
    Allow = "allow",
    Cookie = "cookie",
    Expect = "expect",
    Origin = "origin",
    Server = "server",
    Accept = "accept",
    Upgrade = "upgrade",
    Trailer = "trailer",
    Location = "location",
    Connection = "connection",
    KeepAlive = "keep-alive",
    UserAgent = "user-agent",
    SetCookie = "set-cookie",
    RetryAfter = "retry-after",
    ContentType = "content-type",
    GrpcStatus = "grpc-status",
    GrpcMessage = "grpc-message",
    GrpcTimeout = "grpc-timeout",
    RequestId = "x-request-id",
    Authorization = "authorization",
    ContentLength = "content-length",
    Http2Settings = "http2-settings",
    ForwardedFor = "x-forwarded-for",
    ForwardedHost = "x-forwarded-host",
    ForwardedPort = "x-forwarded-port",
    ForwardedProto = "x-forwarded-proto",
    ProxyConnection = "proxy-connection",
    TransferEncoding = "transfer-encoding",
    ForwardedClientCert = "x-forwarded-client-cert",
    ClientTraceId = "x-client-trace-id",
    EnvoyInternal = "x-envoy-internal",
    EnvoyForceTrace = "x-envoy-force-trace",
    EnvoyRetryOn = "x-envoy-retry-on",
    EnvoyRetryGrpcOn = "x-envoy-retry-grpc-on",
    EnvoyMaxRetries = "x-envoy-max-retries",
    EnvoyOverloaded = "x-envoy-overloaded",
    EnvoyAttemptCount = "x-envoy-attempt-count",
    EnvoyOriginalPath = "x-envoy-original-path",
    EnvoyExternalAddress = "x-envoy-external-address",
    EnvoyPeerMetadata = "x-envoy-peer-metadata",
    EnvoyPeerMetadataId = "x-envoy-peer-metadata-id",
    EnvoyDecoratorOperation = "x-envoy-decorator-operation",
    EnvoyUpstreamTimeoutMs = "x-envoy-upstream-rq-timeout-ms",
    EnvoyPerTryTimeoutMs = "x-envoy-upstream-rq-per-try-timeout-ms",
    EnvoyExpectedTimeoutMs = "x-envoy-expected-rq-timeout-ms",
    EnvoyStreamDurationMs = "x-envoy-upstream-stream-duration-ms",
    EnvoyUpstreamServiceTime = "x-envoy-upstream-service-time",
    EnvoyRetriableStatusCodes = "x-envoy-retriable-status-codes",
    EnvoyRetriableHeaderNames = "x-envoy-retriable-header-names",
    AllowOrigin = "access-control-allow-origin",
    RequestMethod = "access-control-request-method",
}

/// Slot of names that are not known, in entries of a header block.
pub(super) const UNKNOWN: u8 = u8::MAX;

const LONGEST: usize = 40;

/// For each length the known names of that length: `BY_LENGTH[start..end]` of `ORDER`.
const RANGES: [(u8, u8); LONGEST + 1] = ranges();
const ORDER: [u8; TABLE.len()] = order();

const fn order() -> [u8; TABLE.len()] {
    let mut out = [0; TABLE.len()];
    let mut next = 0;
    let mut length = 0;
    while length <= LONGEST {
        let mut index = 0;
        while index < TABLE.len() {
            if TABLE[index].1.len() == length {
                out[next] = index as u8;
                next += 1;
            }
            index += 1;
        }
        length += 1;
    }
    out
}

const fn ranges() -> [(u8, u8); LONGEST + 1] {
    let mut out = [(0, 0); LONGEST + 1];
    let mut start = 0;
    let mut length = 0;
    while length <= LONGEST {
        let mut end = start;
        let mut index = 0;
        while index < TABLE.len() {
            if TABLE[index].1.len() == length {
                end += 1;
            }
            index += 1;
        }
        out[length] = (start, end);
        start = end;
        length += 1;
    }
    out
}

impl Known {
    /// The lower-case text.
    pub fn as_str(self) -> &'static str {
        TABLE.get(self as usize).map_or("", |(_, text)| text)
    }

    /// Finds a name in any case.
    pub fn find(name: &[u8]) -> Option<Known> {
        let (start, end) = *RANGES.get(name.len())?;
        ORDER
            .get(usize::from(start)..usize::from(end))?
            .iter()
            .filter_map(|index| TABLE.get(usize::from(*index)))
            .find(|(_, text)| text.as_bytes().eq_ignore_ascii_case(name))
            .map(|(known, _)| *known)
    }

    /// Bit of this name in a presence mask.
    pub(super) fn bit(self) -> u64 {
        1 << (self as u8)
    }

    pub(super) fn from_slot(slot: u8) -> Option<Known> {
        TABLE.get(usize::from(slot)).map(|(known, _)| *known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_fits_the_mask() {
        assert!(TABLE.len() <= 64);
        for (index, (known, text)) in TABLE.iter().enumerate() {
            assert_eq!(*known as usize, index);
            assert!(text.len() <= LONGEST, "{text}");
            assert_eq!(Known::find(text.as_bytes()), Some(*known));
            assert_eq!(
                Known::find(text.to_ascii_uppercase().as_bytes()),
                Some(*known)
            );
        }
        assert_eq!(Known::find(b"x-unknown"), None);
        assert_eq!(Known::find(b""), None);
        assert_eq!(Known::find(&[b'x'; 100]), None);
    }
}
