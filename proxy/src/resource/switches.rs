//! Behaviour that is the user's choice for a whole proxy and has no field in resources.

/// What the user asked of the process; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Heads of HTTP/1 messages are understood as Envoy understands them where ours are stricter:
    /// `IRONSAIL_HTTP1_LENIENT`.
    pub lenient_http1: bool,
}
