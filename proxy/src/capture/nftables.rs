//! nf_tables over netlink: `linux/netfilter/nf_tables.h`, `linux/netfilter/nfnetlink.h`.
//!
//! A transaction is a batch of messages that the kernel carries out as a whole or not at all.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::options::Cidr;
use super::rule::{Chain, Hook, Match, Rule, Ruleset, Verdict};

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

const VERDICT_JUMP: u32 = (-3i32) as u32;
const VERDICT_RETURN: u32 = (-5i32) as u32;

const HOOK_PREROUTING: u32 = 0;
const HOOK_OUTPUT: u32 = 3;
/// `dstnat`.
const PRIORITY: u32 = (-100i32) as u32;

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_USER: u32 = 10;
const META_GROUP: u32 = 11;
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// Room for an interface's name, zero-padded.
const NAME_BYTES: usize = 16;

const fn message(kind: u16) -> u16 {
    ((libc::NFNL_SUBSYS_NFTABLES as u16) << 8) | kind
}

/// A batch under construction.
pub struct Transaction {
    bytes: Vec<u8>,
    sequence: u32,
}

/// Replaces the table: what an earlier call made is gone, the new rules are there, with nothing in between.
pub fn replacement(rules: &Ruleset) -> Transaction {
    let mut transaction = removal_begun(rules);
    transaction.table(NEW_TABLE, libc::NLM_F_CREATE, rules.table);
    for chain in &rules.chains {
        transaction.chain(rules.table, chain);
    }
    for chain in &rules.chains {
        for rule in &chain.rules {
            transaction.rule(rules.table, chain.name, rule);
        }
    }
    transaction.end()
}

/// Removes the table; not an error when there is none.
pub fn removal(rules: &Ruleset) -> Transaction {
    removal_begun(rules).end()
}

fn removal_begun(rules: &Ruleset) -> Transaction {
    let mut transaction = Transaction {
        bytes: Vec::new(),
        sequence: 0,
    };
    transaction.message(BATCH_BEGIN, 0, FAMILY_NONE, |_| {});
    // Created first, so that the deletion always finds it.
    transaction.table(NEW_TABLE, libc::NLM_F_CREATE, rules.table);
    transaction.table(DELETE_TABLE, 0, rules.table);
    transaction
}

impl Transaction {
    fn end(mut self) -> Self {
        self.message(BATCH_END, 0, FAMILY_NONE, |_| {});
        self
    }

    fn message(&mut self, kind: u16, flags: i32, family: u8, body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        let is_batch = matches!(kind, BATCH_BEGIN | BATCH_END);
        let acknowledged = if is_batch { 0 } else { libc::NLM_F_ACK };
        let flags = u16::try_from(libc::NLM_F_REQUEST | acknowledged | flags).unwrap_or(0);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        // nfgenmsg: family, version, resource id; a batch names its subsystem there.
        let resource = if is_batch {
            libc::NFNL_SUBSYS_NFTABLES as u16
        } else {
            0
        };
        self.bytes.push(family);
        self.bytes.push(0);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        body(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        if let Some(field) = self.bytes.get_mut(start..start + 4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.sequence += 1;
    }

    fn table(&mut self, kind: u16, flags: i32, name: &str) {
        self.message(kind, flags, FAMILY_INET, |out| text(out, 1, name));
    }

    fn chain(&mut self, table: &str, chain: &Chain) {
        self.message(NEW_CHAIN, libc::NLM_F_CREATE, FAMILY_INET, |out| {
            text(out, 1, table);
            text(out, 3, chain.name);
            if let Some(hook) = chain.hook {
                let number = match hook {
                    Hook::Prerouting => HOOK_PREROUTING,
                    Hook::Output => HOOK_OUTPUT,
                };
                nested(out, 4, |out| {
                    number_be(out, 1, number);
                    number_be(out, 2, PRIORITY);
                });
                text(out, 7, "nat");
            }
        });
    }

    fn rule(&mut self, table: &str, chain: &str, rule: &Rule) {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        self.message(NEW_RULE, flags, FAMILY_INET, |out| {
            text(out, 1, table);
            text(out, 2, chain);
            nested(out, 4, |out| {
                for condition in &rule.matches {
                    condition.expressions(out);
                }
                expression(out, "counter", |_| {});
                rule.verdict.expressions(out);
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
        }
    }
}

impl Verdict {
    fn expressions(&self, out: &mut Vec<u8>) {
        match self {
            Verdict::Return => verdict(out, VERDICT_RETURN, None),
            Verdict::Jump(chain) => verdict(out, VERDICT_JUMP, Some(chain)),
            Verdict::Redirect(port) => {
                expression(out, "immediate", |out| {
                    number_be(out, 1, REGISTER);
                    nested(out, 2, |out| attribute(out, 1, &port.to_be_bytes()));
                });
                expression(out, "redir", |out| number_be(out, 1, REGISTER));
            }
        }
    }
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
    expression(out, "meta", |out| {
        number_be(out, 2, key);
        number_be(out, 1, REGISTER);
    });
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
        let mask = mask(cidr.prefix, bytes.len());
        expression(out, "bitwise", |out| {
            number_be(out, 1, REGISTER);
            number_be(out, 2, REGISTER);
            number_be(out, 3, length);
            nested(out, 4, |out| attribute(out, 1, &mask));
            nested(out, 5, |out| attribute(out, 1, &vec![0; mask.len()]));
        });
    }
    compare(out, operator, &bytes);
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

fn nested(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    body(&mut inner);
    attribute(out, kind | libc::NLA_F_NESTED as u16, &inner);
}

fn text(out: &mut Vec<u8>, kind: u16, value: &str) {
    let mut bytes = value.as_bytes().to_vec();
    bytes.push(0);
    attribute(out, kind, &bytes);
}

fn number_be(out: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(out, kind, &value.to_be_bytes());
}

/// Length, kind, value, padding to four bytes.
fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).expect("rules are far below 64 KiB");
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Sends the batch and waits for the kernel's answers.
pub fn commit(transaction: Transaction) -> io::Result<()> {
    let socket = open()?;
    send(&socket, &transaction.bytes)?;
    // One acknowledgement per message between begin and end.
    let mut expected = transaction.sequence.saturating_sub(2);
    let mut buffer = vec![0u8; 32 * 1024];
    while expected > 0 {
        let length = receive(&socket, &mut buffer)?;
        let answers = buffer.get(..length).unwrap_or_default();
        expected = expected.saturating_sub(check(answers)?);
    }
    Ok(())
}

fn open() -> io::Result<OwnedFd> {
    // SAFETY: plain system call without pointers; the descriptor is owned at once.
    let fd = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::NETLINK_NETFILTER,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is open and owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let limit = libc::timeval {
        tv_sec: 5,
        tv_usec: 0,
    };
    // SAFETY: the pointer and length describe `limit`, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const limit).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

fn send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and length describe `bytes`.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length describe `buffer`.
    let received = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
        )
    };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Counts acknowledgements; the first refusal becomes the error.
fn check(mut answers: &[u8]) -> io::Result<u32> {
    let mut count = 0;
    while let (Some(length), Some(kind)) = (u32_at(answers, 0), u16_at(answers, 4)) {
        let length = usize::try_from(length).unwrap_or(0);
        if length < 16 {
            break;
        }
        if i32::from(kind) == libc::NLMSG_ERROR {
            let code = u32_at(answers, 16).map_or(0, |code| code as i32);
            if code != 0 {
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            count += 1;
        }
        answers = answers
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(count)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let field = bytes.get(offset..offset + 2)?;
    Some(u16::from_ne_bytes(field.try_into().ok()?))
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
