//! Parsers of the proxy beside HTTP.

use std::sync::Arc;

use ironsail_proxy::access_log::{Absent, Format, FormatContext, ISTIO_TEXT, StreamInfo};
use ironsail_proxy::conn::Proxied;
use ironsail_proxy::http::connection_manager::path::{Normalized, normalize};
use ironsail_proxy::http::connection_manager::{EscapedSlashes, PathPolicy};
use ironsail_proxy::listener::proxy_protocol::{Parsed, parse};
use ironsail_proxy::listener::{http_inspector as http, tls_inspector as tls};
use ironsail_proxy::network::metadata_exchange as exchange;
use ironsail_proxy::resource::listener::ProxyProtocol;
use ironsail_proxy::resource::transport_socket::ProxyProtocolVersion;
use ironsail_proxy::route::FullRegex;
use ironsail_proxy::transport_socket::proxy_protocol::header;
use ironsail_proxy::worker::LocalNode;

const MAX_HELLO: usize = 16 * 1024;

/// More bytes never make something else of what was decided.
pub fn tls_inspector(data: &[u8]) {
    let whole = tls::inspect(data, MAX_HELLO);
    for cut in [1, 5, 9, data.len() / 2] {
        let part = tls::inspect(data.get(..cut).unwrap_or(data), MAX_HELLO);
        if let tls::Inspected::NotTls | tls::Inspected::Hello(_) = part {
            assert_eq!(part, whole);
        }
    }
}

pub fn hello_seeds() -> Vec<Vec<u8>> {
    ironsail_runtime::tls::install_provider();
    let roots = rustls::RootCertStore::empty();
    let mut config = ironsail_runtime::tls::client_config(roots, None).expect("valid");
    config.alpn_protocols = vec![b"istio-h2".to_vec(), b"h2".to_vec()];
    let name = "a.example.com".try_into().expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("valid");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("vectors grow");
    vec![bytes]
}

pub fn http_inspector(data: &[u8]) {
    let whole = http::inspect(data);
    for cut in [1, 4, 16, data.len() / 2] {
        let part = http::inspect(data.get(..cut).unwrap_or(data));
        assert!(
            part == http::Inspected::NeedMore || part == whole,
            "{part:?} became {whole:?}"
        );
    }
}

/// More bytes never make something else of what was decided, and what a header says can be said again.
pub fn proxy_protocol(data: &[u8]) {
    for optional in [false, true] {
        let config = ProxyProtocol {
            optional,
            v1: true,
            v2: true,
        };
        let read = |bytes: &[u8]| parse(bytes, config).map_err(|error| error.to_string());
        let whole = read(data);
        for cut in [1, 6, 13, 16, 28, data.len() / 2] {
            let part = read(data.get(..cut).unwrap_or(data));
            assert!(
                part == Ok(Parsed::NeedMore) || part == whole,
                "{part:?} became {whole:?}"
            );
        }
        if let Ok(Parsed::Header(length, proxied)) = whole {
            assert!(length <= data.len());
            for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
                let again = header(version, proxied);
                assert_eq!(read(&again), Ok(Parsed::Header(again.len(), proxied)));
            }
        }
    }
}

pub fn proxy_protocol_seeds() -> Vec<Vec<u8>> {
    let ends = [
        ("192.0.2.1:5000", "10.0.0.1:80"),
        ("[2001:db8::1]:5000", "[::1]:80"),
    ]
    .map(|(source, destination)| {
        let address = |text: &str| text.parse().expect("an address");
        Some(Proxied {
            source: address(source),
            destination: address(destination),
        })
    });
    let [four, six] = ends;
    let mut seeds = Vec::new();
    for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
        for proxied in [four, six, None] {
            seeds.push([&header(version, proxied), &b"GET /"[..]].concat());
        }
    }
    let tlv =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xc0\0\x02\x01\x0a\0\0\x01\x13\x88\0\x50\x01\0\x02h2";
    seeds.push(tlv.to_vec());
    seeds
}

pub fn metadata_exchange(data: &[u8]) {
    match exchange::decode(data) {
        exchange::Decoded::NeedMore => {}
        exchange::Decoded::NoPeer { consumed } | exchange::Decoded::Peer { consumed, .. } => {
            assert!(consumed <= data.len());
        }
    }
}

pub fn metadata_seeds() -> Vec<Vec<u8>> {
    vec![exchange::encode(&LocalNode::default())]
}

/// From the weakest to the strongest that the mesh knows.
const POLICIES: [PathPolicy; 4] = [
    policy(false, false, EscapedSlashes::Keep),
    policy(true, false, EscapedSlashes::Keep),
    policy(true, true, EscapedSlashes::Keep),
    policy(true, true, EscapedSlashes::UnescapeAndForward),
];

const fn policy(
    normalize: bool,
    merge_slashes: bool,
    escaped_slashes: EscapedSlashes,
) -> PathPolicy {
    PathPolicy {
        normalize,
        merge_slashes,
        escaped_slashes,
    }
}

pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // Codecs let nothing else through.
    if !text.starts_with('/') || !text.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return;
    }
    for policy in POLICIES {
        if let Normalized::Forward(path) = normalize(text, &policy) {
            let path = path.split('?').next().unwrap_or_default();
            assert!(path.starts_with('/'), "{text:?} became {path:?}");
            assert!(
                !policy.merge_slashes || !path.contains("//"),
                "{text:?} became {path:?}"
            );
            let up = path.split('/').any(|segment| matches!(segment, "." | ".."));
            assert!(!policy.normalize || !up, "{text:?} became {path:?}");
        }
    }
}

pub fn path_seeds() -> Vec<Vec<u8>> {
    [
        "/a/../b",
        "/%2e%2e/%2F%5c..\\b?c=/../",
        "//a//.;x/./..;y=1/%7e#f",
        "/a%zz%",
    ]
    .map(|path| path.as_bytes().to_vec())
    .into()
}

/// A format that parses can be written.
pub fn access_log(data: &[u8]) {
    let Some(format) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| Format::parse(text).ok())
    else {
        return;
    };
    let info = StreamInfo::new(std::time::Instant::now(), std::time::UNIX_EPOCH);
    let context = FormatContext {
        info: &info,
        connection: None,
        request: None,
        response: None,
        trailers: None,
    };
    format.write(&context, Absent::Dash, &mut Vec::new());
}

pub fn access_log_seeds() -> Vec<Vec<u8>> {
    let own = "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)% %REQ(X?Y):9% %RESP(A)% %%%DURATION% %COMMON_DURATION(DS_RX_BEG:US_TX_END:ms)%";
    vec![ISTIO_TEXT.into(), own.into()]
}

/// Compiling is bounded, and so is matching.
pub fn regex(data: &[u8]) {
    let (pattern, text) = data.split_at(data.len() / 2);
    let Ok(pattern) = std::str::from_utf8(pattern) else {
        return;
    };
    if let Ok(regex) = FullRegex::new(pattern) {
        regex.is_match(text);
    }
}

pub fn regex_seeds() -> Vec<Vec<u8>> {
    [
        "/[a-z]+/(v[0-9]+|x{2,5}?)/.*/abc/v12/xyz",
        "(?i)^a.b\\.c$(\\d|\\w)*A-B.Caaaaaaaaaaaa",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
