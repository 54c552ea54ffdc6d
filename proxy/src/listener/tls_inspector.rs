//! Reads server name and application protocols from a ClientHello, without taking part in the handshake.
//!
//! <https://www.rfc-editor.org/rfc/rfc8446#section-4.1.2>

use std::borrow::Cow;

const CONTENT_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const RECORD_HEADER: usize = 5;
/// Longest plain record, with what old implementations add.
const MAX_RECORD: usize = 16_384 + 256;
/// Longest name of a host.
const MAX_NAME: usize = 255;
const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;

/// What a client says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Lower-case.
    pub server_name: Option<String>,
    /// In the client's order.
    pub application_protocols: Vec<Vec<u8>>,
}

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspected {
    NeedMore,
    NotTls,
    /// Longer than allowed.
    TooLong,
    Hello(ClientHello),
}

/// Looks at the first bytes of a connection. `max` limits the hello, in bytes with record headers.
pub fn inspect(bytes: &[u8], max: usize) -> Inspected {
    let handshake = match handshake_bytes(bytes) {
        Ok(handshake) => handshake,
        Err(()) => return Inspected::NotTls,
    };
    let mut reader = Reader(&handshake);
    let length = match (reader.u8(), reader.u24()) {
        (Some(HANDSHAKE_CLIENT_HELLO), Some(length)) => length,
        (None | Some(HANDSHAKE_CLIENT_HELLO), None) => return need_more(bytes, max),
        _ => return Inspected::NotTls,
    };
    if length > max {
        return Inspected::TooLong;
    }
    match reader.take(length) {
        Some(body) => client_hello(body).map_or(Inspected::NotTls, Inspected::Hello),
        None => need_more(bytes, max),
    }
}

fn need_more(bytes: &[u8], max: usize) -> Inspected {
    if bytes.len() >= max {
        Inspected::TooLong
    } else {
        Inspected::NeedMore
    }
}

/// The handshake bytes of the records so far, up to the end of the first message: what follows it may be records of
/// other types. An error for what is no TLS handshake.
fn handshake_bytes(mut bytes: &[u8]) -> Result<Cow<'_, [u8]>, ()> {
    let mut joined: Option<Cow<'_, [u8]>> = None;
    while !bytes.is_empty() && !joined.as_deref().is_some_and(has_message) {
        let plausible = bytes.first() == Some(&CONTENT_HANDSHAKE)
            && bytes.get(1).is_none_or(|major| *major == 3)
            && bytes.get(2).is_none_or(|minor| *minor <= 4);
        if !plausible {
            return Err(());
        }
        let Some((header, rest)) = bytes.split_first_chunk::<RECORD_HEADER>() else {
            break;
        };
        let [_, _, _, high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > MAX_RECORD {
            return Err(());
        }
        let (fragment, rest) = rest.split_at(length.min(rest.len()));
        joined = Some(match joined {
            None => Cow::Borrowed(fragment),
            Some(before) => {
                let mut owned = before.into_owned();
                owned.extend_from_slice(fragment);
                Cow::Owned(owned)
            }
        });
        bytes = rest;
    }
    Ok(joined.unwrap_or_default())
}

/// Whether a handshake message is there to its end.
fn has_message(handshake: &[u8]) -> bool {
    let mut reader = Reader(handshake);
    let length = reader.u8().and_then(|_| reader.u24());
    length.is_some_and(|length| reader.take(length).is_some())
}

fn client_hello(body: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(body);
    reader.take(2 + 32)?;
    reader.vector8()?;
    reader.vector16()?;
    reader.vector8()?;
    let mut hello = ClientHello::default();
    if reader.0.is_empty() {
        // Before TLS 1.2 there may be no extensions.
        return Some(hello);
    }
    let mut extensions = Reader(reader.vector16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let body = extensions.vector16()?;
        match kind {
            EXTENSION_SERVER_NAME => hello.server_name = server_name(body)?,
            EXTENSION_ALPN => hello.application_protocols = protocols(body)?,
            _ => {}
        }
    }
    Some(hello)
}

fn server_name(body: &[u8]) -> Option<Option<String>> {
    let mut list = Reader(Reader(body).vector16()?);
    while !list.0.is_empty() {
        let kind = list.u8()?;
        let name = list.vector16()?;
        if kind == 0 {
            // As in Envoy: what is no name at all makes it no hello.
            if name.is_empty() || name.len() > MAX_NAME || name.contains(&0) {
                return None;
            }
            let name = std::str::from_utf8(name).ok()?;
            return Some(Some(name.to_ascii_lowercase()));
        }
    }
    Some(None)
}

fn protocols(body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut list = Reader(Reader(body).vector16()?);
    let mut all = Vec::new();
    while !list.0.is_empty() {
        all.push(list.vector8()?.to_vec());
    }
    Some(all)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u24(&mut self) -> Option<usize> {
        let high = usize::from(self.u8()?);
        Some((high << 16) | usize::from(self.u16()?))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u8()?);
        self.take(length)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// The first flight of a real client.
    fn hello(name: &str, alpn: &[&str]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of the provider")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let name = name.to_owned().try_into().expect("a DNS name");
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("valid");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("vectors grow");
        bytes
    }

    #[test]
    fn reads_name_and_protocols_once_complete() {
        let bytes = hello("Outbound.Example.com", &["istio-peer-exchange", "istio"]);
        for end in 0..bytes.len() {
            assert_eq!(inspect(&bytes[..end], 65_535), Inspected::NeedMore, "{end}");
        }
        let expected = ClientHello {
            server_name: Some("outbound.example.com".to_owned()),
            application_protocols: vec![b"istio-peer-exchange".to_vec(), b"istio".to_vec()],
        };
        assert_eq!(inspect(&bytes, 65_535), Inspected::Hello(expected));
    }

    #[test]
    fn what_follows_the_hello_does_not_matter() {
        // A client with early data says ChangeCipherSpec next.
        let mut bytes = hello("a.example.com", &["h2"]);
        let alone = inspect(&bytes, 65_535);
        assert!(matches!(alone, Inspected::Hello(_)));
        bytes.extend([20, 3, 3, 0, 1, 1]);
        assert_eq!(inspect(&bytes, 65_535), alone);
    }

    #[test]
    fn joins_fragmented_records() {
        let bytes = hello("a.example.com", &["h2"]);
        let fragmented = crate::testing::fragmented(&bytes, 40);
        let Inspected::Hello(hello) = inspect(&fragmented, 65_535) else {
            panic!("not read");
        };
        assert_eq!(hello.server_name.as_deref(), Some("a.example.com"));
    }

    #[test]
    fn a_hello_of_16_kib_is_read_record_by_record() {
        let bytes = crate::testing::padded(&hello("a.example.com", &["h2"]), 16 * 1024);
        for length in [40, 1000, 16 * 1024] {
            let fragmented = crate::testing::fragmented(&bytes, length);
            let Inspected::Hello(hello) = inspect(&fragmented, 65_535) else {
                panic!("records of {length} bytes");
            };
            assert_eq!(hello.server_name.as_deref(), Some("a.example.com"));
            let cut = &fragmented[..fragmented.len() - 1];
            assert_eq!(inspect(cut, 65_535), Inspected::NeedMore, "{length}");
        }
    }

    /// The same hello with another name of 13 bytes.
    fn named(name: &[u8]) -> Inspected {
        let bytes = hello("a.example.com", &["h2"]);
        let at = bytes.windows(13).position(|part| part == b"a.example.com");
        let at = at.expect("it is there");
        let mut bytes = bytes;
        bytes.splice(at..at + name.len(), name.iter().copied());
        inspect(&bytes, 65_535)
    }

    #[test]
    fn names_are_those_of_hosts_or_none() {
        for (name, expected) in [
            (&b"A.EXAMPLE.COM"[..], "a.example.com"),
            (b"100.100.100.1", "100.100.100.1"),
        ] {
            let Inspected::Hello(hello) = named(name) else {
                panic!("{name:?}");
            };
            assert_eq!(hello.server_name.as_deref(), Some(expected));
        }
        for name in [
            &b"a.exam\0le.com"[..],
            b"a.example.co\0",
            b"a.exam\xffle.com",
        ] {
            assert_eq!(named(name), Inspected::NotTls, "{name:?}");
        }
        for name in ["", &"a".repeat(256)] {
            assert_eq!(server_name(&name_list(name)), None, "{name}");
        }
        assert!(server_name(&name_list(&"a".repeat(255))).is_some());
    }

    /// The body of the extension with one name.
    fn name_list(name: &str) -> Vec<u8> {
        let length = |bytes: usize| u16::try_from(bytes).expect("short").to_be_bytes();
        let own = [&[0], &length(name.len())[..], name.as_bytes()].concat();
        [&length(own.len())[..], &own].concat()
    }

    #[test]
    fn other_protocols_are_told_at_the_first_bytes() {
        for bytes in [&b"G"[..], b"\x16\x02", b"\x16\x03\x01\x00\x00", b"\x00"] {
            assert_eq!(inspect(bytes, 65_535), Inspected::NotTls, "{bytes:?}");
        }
        // A ServerHello first.
        assert_eq!(
            inspect(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", 65_535),
            Inspected::NotTls
        );
    }

    #[test]
    fn long_hellos_are_refused() {
        let mut bytes = b"\x16\x03\x01\x40\x00\x01\x02\x00\x00".to_vec();
        assert_eq!(inspect(&bytes, 4096), Inspected::TooLong);
        bytes.resize(5000, 0);
        assert_eq!(inspect(&bytes, 4096), Inspected::TooLong);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, cut in 0_usize..600) {
            inspect(&bytes, 65_535);
            let mut broken = hello("a.example.com", &["h2"]);
            let cut = cut.min(broken.len());
            broken.splice(cut..cut, bytes);
            inspect(&broken, 65_535);
        }
    }
}
