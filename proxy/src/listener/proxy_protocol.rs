//! PROXY protocol: what a load balancer says of the client before the client's bytes.
//!
//! Both versions are read strictly, and the header is never taken for payload: a connection whose header is malformed,
//! too long or not complete in time is closed. It is read before the other listener filters run, wherever it stands
//! among them. TLVs are checked for their shape and dropped.
//! <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;

use crate::conn::{Proxied, Raw};
use crate::resource::listener::ProxyProtocol;

const V1_START: &[u8] = b"PROXY ";
/// With its line end; section 2.1.
const V1_MAX: usize = 107;
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version with command, family, length.
const V2_HEAD: usize = 16;
/// Addresses and TLVs. The protocol allows 65,535; who sends more than this sends no address.
const V2_MAX: usize = 4096;
const READ_SIZE: usize = 512;

/// Why a connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("reading the PROXY protocol header")]
    Io(#[from] io::Error),
    #[error("connection ended within the PROXY protocol header")]
    Incomplete,
    #[error("no PROXY protocol header")]
    Absent,
    #[error("malformed PROXY protocol header: {0}")]
    Malformed(&'static str),
    #[error("PROXY protocol version {0} is not allowed")]
    Version(u8),
}

/// Reads the header; what follows it is left in `buffer`. `None`: the connection's own addresses count.
///
/// # Errors
/// The connection must be closed.
pub async fn read(
    raw: &mut Raw,
    buffer: &RefCell<BytesMut>,
    config: ProxyProtocol,
) -> Result<Option<Proxied>, HeaderError> {
    loop {
        let parsed = parse(&buffer.borrow(), config)?;
        match parsed {
            Parsed::Header(length, proxied) => {
                buffer.borrow_mut().advance(length);
                return Ok(proxied);
            }
            Parsed::Absent => return Ok(None),
            Parsed::NeedMore => {}
        }
        let mut chunk = BytesMut::with_capacity(READ_SIZE);
        if raw.read_buf(&mut chunk).await? == 0 {
            // Who may do without the header may also say little.
            let optional = config.optional && !buffer.borrow().starts_with(V1_START);
            return if optional {
                Ok(None)
            } else {
                Err(HeaderError::Incomplete)
            };
        }
        buffer.borrow_mut().unsplit(chunk);
    }
}

/// What the start of a connection is.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    NeedMore,
    /// There is none, and there need not be one.
    Absent,
    /// Its length, and what it says.
    Header(usize, Option<Proxied>),
}

/// Looks at the start of a connection.
///
/// # Errors
/// No bytes that may follow make a header of it that is allowed.
pub fn parse(bytes: &[u8], config: ProxyProtocol) -> Result<Parsed, HeaderError> {
    if begins(bytes, V2_START) {
        return v2(bytes, config);
    }
    if begins(bytes, V1_START) {
        return v1(bytes, config);
    }
    if config.optional {
        return Ok(Parsed::Absent);
    }
    Err(HeaderError::Absent)
}

/// Whether the bytes are, or may become, something with this start.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes.get(..common) == start.get(..common)
}

fn v1(bytes: &[u8], config: ProxyProtocol) -> Result<Parsed, HeaderError> {
    let end = bytes.iter().take(V1_MAX).position(|byte| *byte == b'\n');
    let Some(end) = end else {
        return match bytes.len() >= V1_MAX {
            true => Err(HeaderError::Malformed("the line is too long")),
            false => Ok(Parsed::NeedMore),
        };
    };
    if !config.v1 {
        return Err(HeaderError::Version(1));
    }
    let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let line = line.ok_or(HeaderError::Malformed("the line does not end with CR LF"))?;
    Ok(Parsed::Header(end + 1, v1_addresses(line)?))
}

fn v1_addresses(line: &str) -> Result<Option<Proxied>, HeaderError> {
    let malformed = HeaderError::Malformed("the line is not PROXY, protocol and four numbers");
    let mut words = line.split(' ').skip(1);
    let protocol = words.next();
    if protocol == Some("UNKNOWN") {
        return Ok(None);
    }
    let words: Vec<&str> = words.collect();
    let (&[source, destination, source_port, destination_port], Some(protocol)) =
        (words.as_slice(), protocol)
    else {
        return Err(malformed);
    };
    let address = |text: &str| match protocol {
        "TCP4" => Ipv4Addr::from_str(text).ok().map(IpAddr::V4),
        "TCP6" => Ipv6Addr::from_str(text).ok().map(IpAddr::V6),
        _ => None,
    };
    let end = |ip: &str, port: &str| Some(SocketAddr::new(address(ip)?, v1_port(port)?));
    let proxied = end(source, source_port)
        .zip(end(destination, destination_port))
        .map(|(source, destination)| Proxied {
            source,
            destination,
        });
    proxied.ok_or(malformed).map(Some)
}

/// Digits only: no sign, no leading zero.
fn v1_port(text: &str) -> Option<u16> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| canonical)
}

fn v2(bytes: &[u8], config: ProxyProtocol) -> Result<Parsed, HeaderError> {
    let Some((head, rest)) = bytes.split_at_checked(V2_HEAD) else {
        return Ok(Parsed::NeedMore);
    };
    let &[command, family, high, low] = head.get(V2_START.len()..).unwrap_or_default() else {
        return Err(HeaderError::Malformed("the head is short"));
    };
    if command >> 4 != 2 {
        return Err(HeaderError::Malformed("the version is not 2"));
    }
    if !config.v2 {
        return Err(HeaderError::Version(2));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_MAX {
        return Err(HeaderError::Malformed("the header is too long"));
    }
    let Some(content) = rest.get(..length) else {
        return Ok(Parsed::NeedMore);
    };
    let proxied = match command & 0xf {
        // LOCAL: the load balancer's own connection, whatever else it says.
        0 => None,
        1 => v2_content(family, content)?,
        _ => return Err(HeaderError::Malformed("the command is unknown")),
    };
    Ok(Parsed::Header(V2_HEAD + length, proxied))
}

fn v2_content(family: u8, content: &[u8]) -> Result<Option<Proxied>, HeaderError> {
    const SHORT: HeaderError = HeaderError::Malformed("the addresses are short");
    let (proxied, tlvs) = match (family >> 4, family & 0xf) {
        // UNSPEC: the connection's own addresses count, and what follows has no meaning.
        (0, _) | (_, 0) => return Ok(None),
        (1, 1) => {
            let (addresses, tlvs) = content.split_first_chunk::<12>().ok_or(SHORT)?;
            let [a, b, c, d, e, f, g, h, ports @ ..] = *addresses;
            let (source, destination) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
            (ends(source.into(), destination.into(), ports), tlvs)
        }
        (2, 1) => {
            let (source, rest) = content.split_first_chunk::<16>().ok_or(SHORT)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(SHORT)?;
            let (ports, tlvs) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
            let (source, destination) = (Ipv6Addr::from(*source), Ipv6Addr::from(*destination));
            (ends(source.into(), destination.into(), *ports), tlvs)
        }
        _ => return Err(HeaderError::Malformed("the address family is not of TCP")),
    };
    check_tlvs(tlvs)?;
    Ok(Some(proxied))
}

fn ends(source: IpAddr, destination: IpAddr, [a, b, c, d]: [u8; 4]) -> Proxied {
    Proxied {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

/// Type, length and value, to the very end.
fn check_tlvs(mut rest: &[u8]) -> Result<(), HeaderError> {
    const MALFORMED: HeaderError = HeaderError::Malformed("a TLV does not end where it should");
    while !rest.is_empty() {
        let ([_, high, low], value) = rest.split_first_chunk::<3>().ok_or(MALFORMED)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = value.get(length..).ok_or(MALFORMED)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: ProxyProtocol = ProxyProtocol {
        optional: false,
        v1: true,
        v2: true,
    };

    fn proxied(source: &str, destination: &str) -> Parsed {
        let address = |text: &str| text.parse().expect("an address");
        Parsed::Header(
            0,
            Some(Proxied {
                source: address(source),
                destination: address(destination),
            }),
        )
    }

    /// What a header says, its length aside; malformed ones as `None`.
    fn said(bytes: &[u8], config: ProxyProtocol) -> Option<Parsed> {
        match parse(bytes, config).ok()? {
            Parsed::Header(length, proxied) => {
                assert!(bytes[length..].is_empty() || bytes[length..] == *b"GET");
                Some(Parsed::Header(0, proxied))
            }
            other => Some(other),
        }
    }

    fn v2_header(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("short");
        let mut header = V2_START.to_vec();
        header.extend([command, family]);
        header.extend(length.to_be_bytes());
        header.extend(content);
        header
    }

    #[test]
    fn lines_of_version_1() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_MAX - 16));
        let too_long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_MAX - 15));
        let own = Parsed::Header(0, None);
        let four = || Some(proxied("192.0.2.1:5000", "10.0.0.1:80"));
        let cases: Vec<(&str, Option<Parsed>)> = vec![
            ("PROXY TCP4 192.0.2.1 10.0.0.1 5000 80\r\nGET", four()),
            (
                "PROXY TCP6 2001:db8::1 ::1 5000 80\r\n",
                Some(proxied("[2001:db8::1]:5000", "[::1]:80")),
            ),
            ("PROXY UNKNOWN\r\n", Some(own)),
            (&longest, Some(Parsed::Header(0, None))),
            ("PROXY TCP4 192.0.2.1 10.0", Some(Parsed::NeedMore)),
            ("PRO", Some(Parsed::NeedMore)),
            ("", Some(Parsed::NeedMore)),
            (&too_long, None),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 5000 80\nGET", None),
            ("PROXY TCP4 192.0.2.1  10.0.0.1 5000 80\r\n", None),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 5000 80 1\r\n", None),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 5000\r\n", None),
            ("PROXY TCP4 192.0.2.01 10.0.0.1 5000 80\r\n", None),
            ("PROXY TCP4 ::1 ::1 5000 80\r\n", None),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n", None),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 +5000 80\r\n", None),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 05000 80\r\n", None),
            ("PROXY UDP4 192.0.2.1 10.0.0.1 5000 80\r\n", None),
            ("PROXY\r\n", None),
            ("GET / HTTP/1.1\r\n", None),
        ];
        for (line, expected) in cases {
            assert_eq!(said(line.as_bytes(), REQUIRED), expected, "{line:?}");
        }
    }

    #[test]
    fn headers_of_version_2() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0x13, 0x88, 0, 80];
        let mut six = [0; 36];
        six[15] = 1;
        six[31] = 2;
        six[35] = 80;
        let with = |tail: &[u8]| [&four[..], tail].concat();
        let said_four = || Some(proxied("192.0.2.1:5000", "10.0.0.1:80"));
        let own = || Some(Parsed::Header(0, None));
        let cases: Vec<(&str, Vec<u8>, Option<Parsed>)> = vec![
            ("IPv4", v2_header(0x21, 0x11, &four), said_four()),
            (
                "IPv6",
                v2_header(0x21, 0x21, &six),
                Some(proxied("[::1]:0", "[::2]:80")),
            ),
            (
                "TLVs",
                v2_header(0x21, 0x11, &with(b"\x01\0\x02h2\x04\0\0")),
                said_four(),
            ),
            ("LOCAL", v2_header(0x20, 0, &[]), own()),
            (
                "LOCAL with content",
                v2_header(0x20, 0x11, b"anything"),
                own(),
            ),
            ("UNSPEC", v2_header(0x21, 0, b"anything"), own()),
            ("longest", v2_header(0x20, 0, &[0; V2_MAX]), own()),
            ("too long", v2_header(0x20, 0, &[0; V2_MAX + 1]), None),
            ("version 3", v2_header(0x31, 0x11, &four), None),
            ("command 2", v2_header(0x22, 0x11, &four), None),
            ("UDP", v2_header(0x21, 0x12, &four), None),
            ("UNIX", v2_header(0x21, 0x31, &[0; 216]), None),
            ("short addresses", v2_header(0x21, 0x11, &four[..11]), None),
            ("short IPv6", v2_header(0x21, 0x21, &four), None),
            (
                "TLV beyond the end",
                v2_header(0x21, 0x11, &with(b"\x01\0\x03h2")),
                None,
            ),
            ("half a TLV", v2_header(0x21, 0x11, &with(b"\x01\0")), None),
        ];
        for (name, header, expected) in &cases {
            assert_eq!(said(header, REQUIRED), *expected, "{name}");
        }
        let (_, whole, _) = &cases[2];
        for end in 0..whole.len() {
            assert_eq!(
                said(&whole[..end], REQUIRED),
                Some(Parsed::NeedMore),
                "{end}"
            );
        }
    }

    #[test]
    fn versions_and_absence_are_configured() {
        let optional = ProxyProtocol {
            optional: true,
            ..REQUIRED
        };
        assert_eq!(said(b"GET", optional), Some(Parsed::Absent));
        assert_eq!(said(b"PROXY x\r\n", optional), None);
        let only_v2 = ProxyProtocol {
            v1: false,
            ..REQUIRED
        };
        assert_eq!(said(b"PROXY UNKNOWN\r\n", only_v2), None);
        let only_v1 = ProxyProtocol {
            v2: false,
            ..REQUIRED
        };
        assert_eq!(said(&v2_header(0x20, 0, &[]), only_v1), None);
    }
}
