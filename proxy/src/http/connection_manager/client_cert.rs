//! `x-forwarded-client-cert`.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert>.

use super::config::{ClientCertPolicy, ForwardClientCert};
use crate::access_log::percent_encode;
use crate::conn::{ConnectionInfo, PeerCertificate};
use crate::http::header_block::HeaderBlock;
use crate::http::header_name::Known;

/// Brings the header into the state that the policy wants.
pub fn apply(headers: &mut HeaderBlock, policy: &ClientCertPolicy, connection: &ConnectionInfo) {
    let peer = connection.peer();
    match (policy.mode, peer) {
        (ForwardClientCert::AlwaysForwardOnly, _) | (ForwardClientCert::ForwardOnly, Some(_)) => {}
        (ForwardClientCert::Sanitize, _) | (_, None) => {
            headers.remove(Known::ForwardedClientCert);
        }
        (ForwardClientCert::SanitizeSet, Some(peer)) => {
            let element = element(policy, peer, connection);
            headers.set(Known::ForwardedClientCert, &element);
        }
        (ForwardClientCert::AppendForward, Some(peer)) => {
            let own = element(policy, peer, connection);
            let mut all = match headers.joined(Known::ForwardedClientCert.as_str().as_bytes()) {
                Some(before) if !before.is_empty() => [&before, &b","[..]].concat(),
                _ => Vec::new(),
            };
            all.extend_from_slice(&own);
            headers.set(Known::ForwardedClientCert, &all);
        }
    }
}

fn element(
    policy: &ClientCertPolicy,
    peer: &PeerCertificate,
    connection: &ConnectionInfo,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let key = |name: &str, out: &mut Vec<u8>| {
        if !out.is_empty() {
            out.push(b';');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
    };
    let local = connection
        .tls
        .as_ref()
        .and_then(|tls| tls.local_uri_sans.first());
    if let Some(local) = local {
        key("By", &mut out);
        out.extend_from_slice(local.as_bytes());
    }
    if !peer.sha256.is_empty() {
        key("Hash", &mut out);
        out.extend_from_slice(peer.sha256.as_bytes());
    }
    if policy.cert {
        key("Cert", &mut out);
        out.push(b'"');
        percent_encode(peer.pem(), &mut out);
        out.push(b'"');
    }
    if policy.chain {
        key("Chain", &mut out);
        out.push(b'"');
        percent_encode(&peer.chain_pem(), &mut out);
        out.push(b'"');
    }
    if policy.subject {
        key("Subject", &mut out);
        quote(&peer.subject, &mut out);
    }
    if policy.uri {
        for uri in &peer.uri_sans {
            key("URI", &mut out);
            out.extend_from_slice(uri.as_bytes());
        }
        if peer.uri_sans.is_empty() {
            key("URI", &mut out);
        }
    }
    if policy.dns {
        for dns in &peer.dns_sans {
            key("DNS", &mut out);
            out.extend_from_slice(dns.as_bytes());
        }
    }
    out
}

/// Subjects may contain anything: quotes and backslashes are escaped, control characters left out.
fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes().filter(|byte| !byte.is_ascii_control()) {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::{connection, mutual_tls};
    use crate::resource::listener::TrafficDirection;

    fn policy(mode: ForwardClientCert) -> ClientCertPolicy {
        ClientCertPolicy {
            mode,
            cert: false,
            chain: false,
            subject: true,
            uri: true,
            dns: true,
        }
    }

    fn header(mode: ForwardClientCert, secured: bool, before: Option<&str>) -> Option<String> {
        let connection = if secured {
            mutual_tls(TrafficDirection::Inbound, "spiffe://td/a", "spiffe://td/b")
        } else {
            connection(TrafficDirection::Inbound)
        };
        let mut headers = HeaderBlock::new();
        if let Some(before) = before {
            headers.append(Known::ForwardedClientCert, before.as_bytes());
        }
        apply(&mut headers, &policy(mode), &connection);
        headers
            .get_str(Known::ForwardedClientCert)
            .map(str::to_owned)
    }

    const OWN: &str =
        "By=spiffe://td/b;Hash=ab12;Subject=\"CN=client\";URI=spiffe://td/a;DNS=client.example";

    #[test]
    fn modes() {
        use ForwardClientCert::{
            AlwaysForwardOnly, AppendForward, ForwardOnly, Sanitize, SanitizeSet,
        };
        let old = Some("By=x");
        assert_eq!(header(Sanitize, true, old), None);
        assert_eq!(header(SanitizeSet, true, old).as_deref(), Some(OWN));
        assert_eq!(
            header(AppendForward, true, old).as_deref(),
            Some(format!("By=x,{OWN}").as_str())
        );
        assert_eq!(header(AppendForward, true, None).as_deref(), Some(OWN));
        assert_eq!(header(ForwardOnly, true, old).as_deref(), old);
        assert_eq!(header(AlwaysForwardOnly, false, old).as_deref(), old);
        for mode in [Sanitize, SanitizeSet, AppendForward, ForwardOnly] {
            assert_eq!(header(mode, false, old), None, "{mode:?}");
        }
    }

    #[test]
    fn subjects_cannot_end_their_quotes() {
        let mut out = Vec::new();
        quote("CN=a\";URI=\\b\r\n", &mut out);
        assert_eq!(out, b"\"CN=a\\\";URI=\\\\b\"");
    }
}
