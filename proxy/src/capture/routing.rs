//! Policy routing: packets with a mark are delivered within the network namespace, whatever their address.
//! `linux/fib_rules.h`, `linux/rtnetlink.h`.

use std::io;

use super::netlink::{Messages, attribute};
use super::options::Transparent;

const RULE_PRIORITY: u16 = 6;
const RULE_MARK: u16 = 10;
const RULE_TABLE: u16 = 15;
const RULE_MARK_MASK: u16 = 16;
const TO_TABLE: u8 = 1;
/// Just before the rule of the main table, 32766. Without a number of its own, each call would add another rule.
const PRIORITY: u32 = 32765;

const ROUTE_INTERFACE: u16 = 4;
const ROUTE_TABLE: u16 = 15;
/// The loopback interface of every network namespace.
const LOOPBACK: u32 = 1;

const FAMILIES: [i32; 2] = [libc::AF_INET, libc::AF_INET6];

/// Adds the rule and the route for both families; a family that the kernel lacks is passed over.
///
/// # Errors
/// The kernel refuses.
pub fn add(transparent: Transparent) -> io::Result<()> {
    let create = libc::NLM_F_CREATE;
    let unless = [libc::EEXIST, libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
    for family in FAMILIES {
        request(
            libc::RTM_NEWRULE,
            create | libc::NLM_F_EXCL,
            &unless,
            |out| {
                rule(out, family, transparent);
            },
        )?;
        request(
            libc::RTM_NEWROUTE,
            create | libc::NLM_F_REPLACE,
            &unless,
            |out| {
                route(out, family, transparent);
            },
        )?;
    }
    Ok(())
}

/// Removes the rule and the route, if they are there.
///
/// # Errors
/// The kernel refuses.
pub fn remove(transparent: Transparent) -> io::Result<()> {
    let unless = [
        libc::ENOENT,
        libc::ESRCH,
        libc::EAFNOSUPPORT,
        libc::EOPNOTSUPP,
    ];
    for family in FAMILIES {
        request(libc::RTM_DELRULE, 0, &unless, |out| {
            rule(out, family, transparent)
        })?;
        request(libc::RTM_DELROUTE, 0, &unless, |out| {
            route(out, family, transparent)
        })?;
    }
    Ok(())
}

/// `ip rule … fwmark <mark> lookup <table>`
fn rule(out: &mut Vec<u8>, family: i32, transparent: Transparent) {
    // fib_rule_hdr: the table's number is in an attribute.
    out.extend_from_slice(&[family as u8, 0, 0, 0, 0, 0, 0, TO_TABLE, 0, 0, 0, 0]);
    attribute(out, RULE_PRIORITY, &PRIORITY.to_ne_bytes());
    attribute(out, RULE_MARK, &transparent.mark.to_ne_bytes());
    attribute(out, RULE_MARK_MASK, &u32::MAX.to_ne_bytes());
    attribute(out, RULE_TABLE, &transparent.route_table.to_ne_bytes());
}

/// `ip route … local default dev lo table <table>`
fn route(out: &mut Vec<u8>, family: i32, transparent: Transparent) {
    let (protocol, scope) = (libc::RTPROT_BOOT, libc::RT_SCOPE_HOST);
    // rtmsg: the default route, whose table's number is in an attribute.
    out.extend_from_slice(&[family as u8, 0, 0, 0, 0, protocol, scope, libc::RTN_LOCAL]);
    out.extend_from_slice(&[0; 4]);
    attribute(out, ROUTE_INTERFACE, &LOOPBACK.to_ne_bytes());
    attribute(out, ROUTE_TABLE, &transparent.route_table.to_ne_bytes());
}

/// A refusal with one of the codes `unless` is none.
fn request(
    kind: u16,
    flags: i32,
    unless: &[i32],
    body: impl FnOnce(&mut Vec<u8>),
) -> io::Result<()> {
    let mut messages = Messages::default();
    messages.request(kind, flags, body);
    match messages.send(libc::NETLINK_ROUTE) {
        Err(error)
            if error
                .raw_os_error()
                .is_some_and(|code| unless.contains(&code)) =>
        {
            Ok(())
        }
        other => other,
    }
}
