//! nf_tables over netlink: `linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h`.
//!
//! A transaction is a batch of messages that the kernel carries out as a whole or not at all.

use std::net::IpAddr;

use super::netlink::{Messages, attribute, nested, number_be, text};
use super::options::Cidr;
use super::rule::{Chain, Family, Hook, Match, Rule, Ruleset, Statement};
use super::ruleset::TABLES;

/// `NFPROTO_INET`: rules see IPv4 and IPv6.
const FAMILY_INET: u8 = 1;
const FAMILY_NONE: u8 = 0;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = message(0);
const DELETE_TABLE: u16 = message(2);
const NEW_CHAIN: u16 = message(3);
const NEW_RULE: u16 = message(6);

/// Registers of 16 bytes.
const REGISTER: u32 = 1;
const REGISTER_VERDICT: u32 = 0;

const VERDICT_ACCEPT: u32 = 1;
const VERDICT_JUMP: u32 = (-3i32) as u32;
const VERDICT_RETURN: u32 = (-5i32) as u32;

const HOOK_PREROUTING: u32 = 0;
const HOOK_OUTPUT: u32 = 3;
/// `mangle`.
const PRIORITY_MANGLE: u32 = (-150i32) as u32;
/// `dstnat`.
const PRIORITY_NAT: u32 = (-100i32) as u32;

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

const META_MARK: u32 = 3;
const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_USER: u32 = 10;
const META_GROUP: u32 = 11;
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;

const CONNECTION_STATE: u32 = 0;
const CONNECTION_MARK: u32 = 3;
/// Bits of the connection's state: established, related.
const ESTABLISHED: u32 = 1 << 1 | 1 << 2;

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// Room for an interface's name, zero-padded.
const NAME_BYTES: usize = 16;

const fn message(kind: u16) -> u16 {
    ((libc::NFNL_SUBSYS_NFTABLES as u16) << 8) | kind
}

/// A batch that the kernel carries out as a whole or not at all.
pub struct Transaction {
    messages: Messages,
}

/// Replaces the tables: what an earlier call made is gone, the new rules are there, with nothing in between.
pub fn replacement(rules: &Ruleset) -> Transaction {
    let mut transaction = removal_begun();
    for table in &rules.tables {
        transaction.table(NEW_TABLE, libc::NLM_F_CREATE, table.name);
        for chain in &table.chains {
            transaction.chain(table.name, chain);
        }
        for chain in &table.chains {
            for rule in &chain.rules {
                transaction.rule(table.name, chain.name, rule);
            }
        }
    }
    transaction.end()
}

/// Removes all tables; not an error when there is none.
pub fn removal() -> Transaction {
    removal_begun().end()
}

fn removal_begun() -> Transaction {
    let mut transaction = Transaction {
        messages: Messages::default(),
    };
    transaction.boundary(BATCH_BEGIN);
    for table in TABLES {
        // Created first, so that the deletion always finds it.
        transaction.table(NEW_TABLE, libc::NLM_F_CREATE, table);
        transaction.table(DELETE_TABLE, 0, table);
    }
    transaction
}

/// `nfgenmsg`: family, version, resource.
fn header(out: &mut Vec<u8>, family: u8, resource: u16) {
    out.extend_from_slice(&[family, 0]);
    out.extend_from_slice(&resource.to_be_bytes());
}

impl Transaction {
    fn end(mut self) -> Self {
        self.boundary(BATCH_END);
        self
    }

    /// Sends the batch and waits for the kernel's answers.
    ///
    /// # Errors
    /// The first refusal; nothing is changed then.
    pub fn commit(&self) -> std::io::Result<()> {
        self.messages.send(libc::NETLINK_NETFILTER)
    }

    fn boundary(&mut self, kind: u16) {
        let subsystem = libc::NFNL_SUBSYS_NFTABLES as u16;
        self.messages
            .silent(kind, |out| header(out, FAMILY_NONE, subsystem));
    }

    fn request(&mut self, kind: u16, flags: i32, body: impl FnOnce(&mut Vec<u8>)) {
        self.messages.request(kind, flags, |out| {
            header(out, FAMILY_INET, 0);
            body(out);
        });
    }

    fn table(&mut self, kind: u16, flags: i32, name: &str) {
        self.request(kind, flags, |out| text(out, 1, name));
    }

    fn chain(&mut self, table: &str, chain: &Chain) {
        self.request(NEW_CHAIN, libc::NLM_F_CREATE, |out| {
            text(out, 1, table);
            text(out, 3, chain.name);
            if let Some(hook) = chain.hook {
                let (name, number, priority) = match hook {
                    Hook::NatPrerouting => ("nat", HOOK_PREROUTING, PRIORITY_NAT),
                    Hook::NatOutput => ("nat", HOOK_OUTPUT, PRIORITY_NAT),
                    Hook::ManglePrerouting => ("filter", HOOK_PREROUTING, PRIORITY_MANGLE),
                    Hook::MangleOutput => ("route", HOOK_OUTPUT, PRIORITY_MANGLE),
                };
                nested(out, 4, |out| {
                    number_be(out, 1, number);
                    number_be(out, 2, priority);
                });
                text(out, 7, name);
            }
        });
    }

    fn rule(&mut self, table: &str, chain: &str, rule: &Rule) {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        self.request(NEW_RULE, flags, |out| {
            text(out, 1, table);
            text(out, 2, chain);
            nested(out, 4, |out| {
                for condition in &rule.matches {
                    condition.expressions(out);
                }
                expression(out, "counter", |_| {});
                rule.statement.expressions(out);
            });
        });
    }
}

impl Match {
    fn expressions(&self, out: &mut Vec<u8>) {
        match self {
            Match::Tcp => meta(out, META_PROTOCOL, EQUAL, &[libc::IPPROTO_TCP as u8]),
            Match::Udp => meta(out, META_PROTOCOL, EQUAL, &[libc::IPPROTO_UDP as u8]),
            Match::InputInterface(name) => meta(out, META_INPUT_NAME, EQUAL, &padded(name)),
            Match::OutputInterface(name) => meta(out, META_OUTPUT_NAME, EQUAL, &padded(name)),
            Match::SourceAddress(cidr) => address(out, cidr, AddressField::Source, EQUAL),
            Match::DestinationAddress(cidr) => {
                address(out, cidr, AddressField::Destination, EQUAL);
            }
            Match::DestinationAddressNot(cidr) => {
                address(out, cidr, AddressField::Destination, NOT_EQUAL);
            }
            Match::DestinationPort(port) => destination_port(out, *port, EQUAL),
            Match::DestinationPortNot(port) => destination_port(out, *port, NOT_EQUAL),
            Match::User(id) => meta(out, META_USER, EQUAL, &id.to_ne_bytes()),
            Match::UserNot(id) => meta(out, META_USER, NOT_EQUAL, &id.to_ne_bytes()),
            Match::Group(id) => meta(out, META_GROUP, EQUAL, &id.to_ne_bytes()),
            Match::GroupNot(id) => meta(out, META_GROUP, NOT_EQUAL, &id.to_ne_bytes()),
            Match::Mark(mark) => meta(out, META_MARK, EQUAL, &mark.to_ne_bytes()),
            Match::MarkNot(mark) => meta(out, META_MARK, NOT_EQUAL, &mark.to_ne_bytes()),
            Match::ConnectionMark(mark) => {
                load_connection(out, CONNECTION_MARK);
                compare(out, EQUAL, &mark.to_ne_bytes());
            }
            Match::Established => {
                load_connection(out, CONNECTION_STATE);
                bits(out, &ESTABLISHED.to_ne_bytes());
                compare(out, NOT_EQUAL, &[0; 4]);
            }
        }
    }
}

impl Statement {
    fn expressions(&self, out: &mut Vec<u8>) {
        match self {
            Statement::Accept => verdict(out, VERDICT_ACCEPT, None),
            Statement::Return => verdict(out, VERDICT_RETURN, None),
            Statement::Jump(chain) => verdict(out, VERDICT_JUMP, Some(chain)),
            Statement::Redirect(port) => {
                immediate(out, &port.to_be_bytes());
                expression(out, "redir", |out| number_be(out, 1, REGISTER));
            }
            Statement::Transparent { family, port, mark } => {
                immediate(out, &port.to_be_bytes());
                let family = match family {
                    Family::V4 => libc::NFPROTO_IPV4,
                    Family::V6 => libc::NFPROTO_IPV6,
                };
                expression(out, "tproxy", |out| {
                    number_be(out, 1, u32::try_from(family).unwrap_or(0));
                    number_be(out, 3, REGISTER);
                });
                Statement::SetMark(*mark).expressions(out);
                Statement::Accept.expressions(out);
            }
            Statement::SetMark(mark) => {
                immediate(out, &mark.to_ne_bytes());
                store(out, "meta", META_MARK, 3);
            }
            Statement::SaveMark => {
                load_meta(out, META_MARK);
                store(out, "ct", CONNECTION_MARK, 4);
            }
            Statement::RestoreMark => {
                load_connection(out, CONNECTION_MARK);
                store(out, "meta", META_MARK, 3);
            }
        }
    }
}

/// A value into the register.
fn immediate(out: &mut Vec<u8>, value: &[u8]) {
    expression(out, "immediate", |out| {
        number_be(out, 1, REGISTER);
        nested(out, 2, |out| attribute(out, 1, value));
    });
}

/// The register into what a key names; `source` is the attribute of the register.
fn store(out: &mut Vec<u8>, name: &str, key: u32, source: u16) {
    expression(out, name, |out| {
        number_be(out, 2, key);
        number_be(out, source, REGISTER);
    });
}

fn load_meta(out: &mut Vec<u8>, key: u32) {
    expression(out, "meta", |out| {
        number_be(out, 2, key);
        number_be(out, 1, REGISTER);
    });
}

fn load_connection(out: &mut Vec<u8>, key: u32) {
    expression(out, "ct", |out| {
        number_be(out, 1, REGISTER);
        number_be(out, 2, key);
    });
}

#[derive(Clone, Copy)]
enum AddressField {
    Source,
    Destination,
}

fn verdict(out: &mut Vec<u8>, code: u32, chain: Option<&str>) {
    expression(out, "immediate", |out| {
        number_be(out, 1, REGISTER_VERDICT);
        nested(out, 2, |out| {
            nested(out, 2, |out| {
                number_be(out, 1, code);
                if let Some(chain) = chain {
                    text(out, 2, chain);
                }
            });
        });
    });
}

fn meta(out: &mut Vec<u8>, key: u32, operator: u32, value: &[u8]) {
    load_meta(out, key);
    compare(out, operator, value);
}

fn compare(out: &mut Vec<u8>, operator: u32, value: &[u8]) {
    expression(out, "cmp", |out| {
        number_be(out, 1, REGISTER);
        number_be(out, 2, operator);
        nested(out, 3, |out| attribute(out, 1, value));
    });
}

fn payload(out: &mut Vec<u8>, base: u32, offset: u32, length: u32) {
    expression(out, "payload", |out| {
        number_be(out, 1, REGISTER);
        number_be(out, 2, base);
        number_be(out, 3, offset);
        number_be(out, 4, length);
    });
}

fn destination_port(out: &mut Vec<u8>, port: u16, operator: u32) {
    payload(out, TRANSPORT_HEADER, 2, 2);
    compare(out, operator, &port.to_be_bytes());
}

/// Matches the family first: the table sees both.
fn address(out: &mut Vec<u8>, cidr: &Cidr, field: AddressField, operator: u32) {
    let (family, bytes, offset) = match (cidr.address, field) {
        (IpAddr::V4(ip), AddressField::Source) => (libc::NFPROTO_IPV4, ip.octets().to_vec(), 12),
        (IpAddr::V4(ip), AddressField::Destination) => {
            (libc::NFPROTO_IPV4, ip.octets().to_vec(), 16)
        }
        (IpAddr::V6(ip), AddressField::Source) => (libc::NFPROTO_IPV6, ip.octets().to_vec(), 8),
        (IpAddr::V6(ip), AddressField::Destination) => {
            (libc::NFPROTO_IPV6, ip.octets().to_vec(), 24)
        }
    };
    meta(
        out,
        META_FAMILY,
        EQUAL,
        &[u8::try_from(family).unwrap_or(0)],
    );
    let length = u32::try_from(bytes.len()).unwrap_or(0);
    payload(out, NETWORK_HEADER, offset, length);
    if usize::from(cidr.prefix) < bytes.len() * 8 {
        bits(out, &mask(cidr.prefix, bytes.len()));
    }
    compare(out, operator, &bytes);
}

/// Keeps these bits of the register.
fn bits(out: &mut Vec<u8>, mask: &[u8]) {
    expression(out, "bitwise", |out| {
        number_be(out, 1, REGISTER);
        number_be(out, 2, REGISTER);
        number_be(out, 3, u32::try_from(mask.len()).unwrap_or(0));
        nested(out, 4, |out| attribute(out, 1, mask));
        nested(out, 5, |out| attribute(out, 1, &vec![0; mask.len()]));
    });
}

/// `length` bytes whose first `prefix` bits are set.
fn mask(prefix: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| {
            let bits = usize::from(prefix).saturating_sub(index * 8).min(8);
            u8::try_from(0xff00u32 >> bits & 0xff).unwrap_or(0)
        })
        .collect()
}

fn padded(name: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    for (slot, byte) in bytes.iter_mut().take(NAME_BYTES - 1).zip(name.bytes()) {
        *slot = byte;
    }
    bytes
}

fn expression(out: &mut Vec<u8>, name: &str, data: impl FnOnce(&mut Vec<u8>)) {
    nested(out, 1, |out| {
        text(out, 1, name);
        nested(out, 2, data);
    });
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks_have_the_prefixes_bits() {
        assert_eq!(mask(0, 4), [0, 0, 0, 0]);
        assert_eq!(mask(8, 4), [255, 0, 0, 0]);
        assert_eq!(mask(12, 4), [255, 240, 0, 0]);
        assert_eq!(mask(32, 4), [255; 4]);
    }
}
