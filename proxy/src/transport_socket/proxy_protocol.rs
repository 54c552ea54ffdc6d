//! Telling hosts who the client is: headers of the PROXY protocol before the first byte.
//! <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::conn::Proxied;
use crate::resource::transport_socket::ProxyProtocolVersion;

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header for a client's connection; without one the host is told that it is this proxy's own.
pub fn header(version: ProxyProtocolVersion, proxied: Option<Proxied>) -> Vec<u8> {
    match version {
        ProxyProtocolVersion::V1 => v1(proxied).into_bytes(),
        ProxyProtocolVersion::V2 => v2(proxied),
    }
}

fn v1(proxied: Option<Proxied>) -> String {
    let Some(proxied) = proxied.map(of_one_family) else {
        return "PROXY UNKNOWN\r\n".to_owned();
    };
    let (source, destination) = (proxied.source, proxied.destination);
    let family = if source.is_ipv4() { 4 } else { 6 };
    let (from, to) = (source.ip(), destination.ip());
    let (source, destination) = (source.port(), destination.port());
    format!("PROXY TCP{family} {from} {to} {source} {destination}\r\n")
}

fn v2(proxied: Option<Proxied>) -> Vec<u8> {
    let mut header = V2_SIGNATURE.to_vec();
    let Some(Proxied {
        source,
        destination,
    }) = proxied.map(of_one_family)
    else {
        // LOCAL, without a family or content.
        header.extend([0x20, 0, 0, 0]);
        return header;
    };
    header.extend(match source {
        SocketAddr::V4(_) => [0x21, 0x11, 0, 12],
        SocketAddr::V6(_) => [0x21, 0x21, 0, 36],
    });
    for address in [source, destination] {
        match address.ip() {
            IpAddr::V4(ip) => header.extend(ip.octets()),
            IpAddr::V6(ip) => header.extend(ip.octets()),
        }
    }
    for address in [source, destination] {
        header.extend(address.port().to_be_bytes());
    }
    header
}

/// The protocol has no mixture of families: IPv4 becomes mapped IPv6 beside IPv6.
fn of_one_family(proxied: Proxied) -> Proxied {
    if proxied.source.is_ipv4() == proxied.destination.is_ipv4() {
        return proxied;
    }
    let six = |address: SocketAddr| {
        let ip: Ipv6Addr = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        SocketAddr::new(ip.into(), address.port())
    };
    Proxied {
        source: six(proxied.source),
        destination: six(proxied.destination),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(source: &str, destination: &str) -> Option<Proxied> {
        Some(Proxied {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
        })
    }

    #[test]
    fn lines_of_version_1() {
        for (proxied, expected) in [
            (
                between("192.0.2.1:5000", "10.0.0.1:80"),
                "PROXY TCP4 192.0.2.1 10.0.0.1 5000 80\r\n",
            ),
            (
                between("192.0.2.1:5000", "[fd00::1]:80"),
                "PROXY TCP6 ::ffff:192.0.2.1 fd00::1 5000 80\r\n",
            ),
            (None, "PROXY UNKNOWN\r\n"),
        ] {
            let header = header(ProxyProtocolVersion::V1, proxied);
            assert_eq!(String::from_utf8_lossy(&header), expected);
        }
    }

    #[test]
    fn headers_of_version_2() {
        for (proxied, expected) in [
            (
                between("192.0.2.1:5000", "10.0.0.1:80"),
                &b"\x21\x11\0\x0c\xc0\0\x02\x01\x0a\0\0\x01\x13\x88\0\x50"[..],
            ),
            (None, b"\x20\0\0\0"),
        ] {
            let header = header(ProxyProtocolVersion::V2, proxied);
            assert_eq!(header.strip_prefix(V2_SIGNATURE), Some(expected));
        }
        let long = header(ProxyProtocolVersion::V2, between("[::1]:1", "[::2]:2"));
        assert_eq!(long.len(), 16 + 36);
    }
}
