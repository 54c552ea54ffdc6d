//! Which upgrades pass, and what is said of them: the fields `Connection` and `Upgrade`.
//! <https://www.rfc-editor.org/rfc/rfc9110#section-7.8>.

use crate::http::header_block::{HeaderBlock, tokens};
use crate::http::header_name::Known;
use crate::http::message::RequestHead;
use crate::route::Forward;

/// How CONNECT is named among upgrades.
const CONNECT: &str = "connect";

/// Whether the route, or else the connection manager, lets a request pass as far as what it wants to become goes.
pub fn is_allowed(request: &RequestHead, forward: &Forward, general: &[Box<str>]) -> bool {
    if !request.asks_for_tunnel() {
        return true;
    }
    let wanted = request.upgrade.as_deref().unwrap_or(CONNECT);
    let by_route = forward.upgrades.iter().find(|(name, _)| &**name == wanted);
    match by_route {
        Some((_, enabled)) => *enabled,
        None => general.iter().any(|name| &**name == wanted),
    }
}

/// Leaves the fields as they are where an upgrade is passed on, and removes them otherwise.
///
/// `Connection` must not have the next hop drop fields that this one relies on: it names the upgrade and nothing else
/// that matters.
pub fn settle(headers: &mut HeaderBlock, upgrades: bool) {
    if !upgrades {
        headers.remove(Known::Connection);
        headers.remove(Known::Upgrade);
        return;
    }
    let harmless = |token: &[u8]| {
        token.eq_ignore_ascii_case(b"upgrade") || token.eq_ignore_ascii_case(b"keep-alive")
    };
    if !headers
        .get_all(Known::Connection)
        .flat_map(tokens)
        .all(harmless)
    {
        headers.set(Known::Connection, b"upgrade");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(connection: &str, upgrades: bool, expected: Option<&str>) {
        let fields = [("connection", connection), ("upgrade", "WebSocket")];
        let mut headers: HeaderBlock = fields.into_iter().collect();
        settle(&mut headers, upgrades);
        assert_eq!(headers.get_str(Known::Connection), expected, "{connection}");
        assert_eq!(headers.contains(Known::Upgrade), upgrades);
    }

    #[test]
    fn connection_is_passed_on_as_far_as_it_is_harmless() {
        check("Upgrade", true, Some("Upgrade"));
        check("keep-alive, Upgrade", true, Some("keep-alive, Upgrade"));
        check("Upgrade, x-forwarded-for", true, Some("upgrade"));
        check("Upgrade", false, None);
    }
}
