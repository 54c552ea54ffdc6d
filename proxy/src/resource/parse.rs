//! Pieces that several resources are made of.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ironsail_xds::core::{Address, DataSource, Metadata, address, data_source, socket_address};
use ironsail_xds::protobuf::value::Kind;
use ironsail_xds::{core, protobuf};
use regex::{Regex, RegexBuilder};
use xxhash_rust::xxh3::xxh3_128;

use crate::resource::CompileError;

/// Compiled size that a regular expression of configuration may have, in bytes.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// `max_*` fields and others that are wrapped for their default.
pub fn u32_or(value: Option<&protobuf::UInt32Value>, default: u32) -> u32 {
    value.map_or(default, |value| value.value)
}

pub fn bool_or(value: Option<&protobuf::BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

pub fn duration_or(value: Option<&protobuf::Duration>, default: Duration) -> Duration {
    value.map_or(default, ironsail_xds::to_std)
}

/// A limit of time where zero means none.
pub fn timeout_or(value: Option<&protobuf::Duration>, default: Duration) -> Option<Duration> {
    Some(duration_or(value, default)).filter(|limit| !limit.is_zero())
}

/// An IP address and port.
///
/// # Errors
/// Pipes, names, named ports, UDP.
pub fn socket_addr(address: Option<&Address>) -> Result<SocketAddr, CompileError> {
    let address = socket_address(address)?;
    let ip = ip(&address.address)?;
    Ok(SocketAddr::new(ip, port(address)?))
}

/// The socket address in an address, which may still name a host.
///
/// # Errors
/// Anything else.
pub fn socket_address(address: Option<&Address>) -> Result<&core::SocketAddress, CompileError> {
    match address.and_then(|address| address.address.as_ref()) {
        Some(address::Address::SocketAddress(address)) => {
            if address.protocol == core::socket_address::Protocol::Udp as i32 {
                return Err(CompileError::new("UDP is not supported"));
            }
            Ok(address)
        }
        Some(address::Address::Pipe(_)) => Err(CompileError::new("pipes are not supported")),
        Some(address::Address::EnvoyInternalAddress(_)) => {
            Err(CompileError::new("internal addresses are not supported"))
        }
        None => Err(CompileError::new("address is missing")),
    }
}

pub fn port(address: &core::SocketAddress) -> Result<u16, CompileError> {
    match &address.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => port_number(*port),
        Some(socket_address::PortSpecifier::NamedPort(name)) => Err(CompileError::new(format!(
            "named port {name:?} is not supported"
        ))),
        None => Ok(0),
    }
}

/// A port that came as a wider number.
///
/// # Errors
/// It is above 65535.
pub fn port_number(port: u32) -> Result<u16, CompileError> {
    u16::try_from(port).map_err(|_| CompileError::new(format!("{port} is no port")))
}

pub fn ip(text: &str) -> Result<IpAddr, CompileError> {
    text.parse()
        .map_err(|_| CompileError::new(format!("malformed IP address: {text:?}")))
}

/// A regular expression that must match the whole text, as RE2 does in Envoy.
///
/// # Errors
/// It does not compile, or is too large.
pub fn full_regex(pattern: &str) -> Result<Regex, CompileError> {
    RegexBuilder::new(&format!(r"\A(?:{pattern})\z"))
        .size_limit(REGEX_SIZE_LIMIT)
        .build()
        .map_err(|error| CompileError::new(format!("regex {pattern:?}: {error}")))
}

/// Reads a data source; files are read now.
///
/// # Errors
/// It is empty, or the file or variable cannot be read.
pub fn data(source: &DataSource) -> Result<Vec<u8>, CompileError> {
    use data_source::Specifier;
    match &source.specifier {
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes.clone()),
        Some(Specifier::InlineString(text)) => Ok(text.clone().into_bytes()),
        Some(Specifier::Filename(path)) => std::fs::read(path)
            .map_err(|error| CompileError::new(format!("cannot read {path:?}: {error}"))),
        Some(Specifier::EnvironmentVariable(name)) => std::env::var(name)
            .map(String::into_bytes)
            .map_err(|_| CompileError::new(format!("environment variable {name:?} is not set"))),
        None => Err(CompileError::new("data source is empty")),
    }
}

/// The struct under `key` of a resource's metadata.
pub fn filter_metadata<'a>(
    metadata: Option<&'a Metadata>,
    key: &str,
) -> Option<&'a protobuf::Struct> {
    metadata?.filter_metadata.get(key)
}

/// A string field of a struct.
pub fn string_field<'a>(fields: &'a protobuf::Struct, key: &str) -> Option<&'a str> {
    match fields.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Content hash of encoded configuration.
pub fn content_hash(bytes: &[u8]) -> u128 {
    xxh3_128(bytes)
}

/// Top-level fields of an encoded message: field number and bytes, for fields of wire type LEN; others have none.
///
/// # Errors
/// The encoding is broken.
pub fn wire_fields(bytes: &[u8]) -> Result<Vec<(u32, &[u8])>, CompileError> {
    use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
    let broken = |error: prost::DecodeError| CompileError::new(error.to_string());
    let mut rest = bytes;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest).map_err(broken)?;
        if wire_type == WireType::LengthDelimited {
            let length = decode_varint(&mut rest).map_err(broken)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (field, tail) = rest
                .split_at_checked(length)
                .ok_or_else(|| CompileError::new("message is cut off"))?;
            fields.push((tag, field));
            rest = tail;
        } else {
            let before = rest;
            skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(broken)?;
            let length = before.len().saturating_sub(rest.len());
            fields.push((tag, before.get(..length).unwrap_or_default()));
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn wire_fields_are_split() {
        let message = ironsail_xds::listener::Listener {
            name: "x".to_owned(),
            traffic_direction: 1,
            ..Default::default()
        };
        let bytes = message.encode_to_vec();
        let fields = wire_fields(&bytes).expect("well formed");
        assert_eq!(fields, vec![(1, &b"x"[..]), (16, &[1][..])]);
        assert!(wire_fields(&[0x0a, 0x05, b'x']).is_err());
    }

    #[test]
    fn regexes_match_the_whole_text() {
        let regex = full_regex("a|b").expect("compiles");
        assert!(regex.is_match("a"));
        assert!(!regex.is_match("ab"));
        assert!(full_regex("(").is_err());
    }
}
