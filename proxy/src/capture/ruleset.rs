//! Which rules the options mean. Order matters and is the peer's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::options::{Cidr, Options, Ports, Ranges};
use super::rule::{Chain, Hook, Match, Rule, Ruleset, Statement, Table};
use super::tproxy;

const NAT: &str = "istio-proxy-nat";
/// All tables that options may lead to.
pub const TABLES: [&str; 2] = [NAT, tproxy::MANGLE];

pub const INBOUND: &str = "istio-inbound";
const OUTPUT: &str = "istio-output";
const REDIRECT: &str = "istio-redirect";
const IN_REDIRECT: &str = "istio-in-redirect";

pub const LOOPBACK: &str = "lo";

/// The proxy connects to the application from this address, and must not meet itself.
pub const PASSTHROUGH: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
    IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
];

/// The rules of `options`.
pub fn build(options: &Options) -> Ruleset {
    let tables = match &options.transparent {
        None => vec![nat(options)],
        Some(transparent) => vec![nat(options), tproxy::mangle(options, transparent)],
    };
    Ruleset { tables }
}

/// Inbound connections keep their addresses with TPROXY, and are none of this table's then.
fn nat(options: &Options) -> Table {
    let is_transparent = options.transparent.is_some();
    let jump = rule([], Statement::Jump(OUTPUT));
    let mut chains = vec![
        prerouting(options),
        output(options, Hook::NatOutput, vec![jump]),
    ];
    if !is_transparent {
        chains.push(inbound(options, Vec::new(), &[(None, IN_REDIRECT)]));
    }
    chains.push(redirect(REDIRECT, options.outbound_port));
    if !is_transparent {
        chains.push(redirect(IN_REDIRECT, options.inbound_port));
    }
    chains.push(istio_output(options));
    Table { name: NAT, chains }
}

pub fn chain(name: &'static str, hook: Option<Hook>, rules: Vec<Rule>) -> Chain {
    Chain { name, hook, rules }
}

pub fn rule(matches: impl Into<Vec<Match>>, statement: Statement) -> Rule {
    Rule {
        matches: matches.into(),
        statement,
    }
}

pub fn single(address: IpAddr) -> Cidr {
    Cidr {
        address,
        prefix: if address.is_ipv4() { 32 } else { 128 },
    }
}

fn prerouting(options: &Options) -> Chain {
    let mut rules = Vec::new();
    for name in &options.virtual_interfaces {
        let from = Match::InputInterface(name.clone());
        match &options.outbound {
            Ranges::All => rules.push(rule([from.clone(), Match::Tcp], Statement::Jump(REDIRECT))),
            Ranges::Only(ranges) => rules.extend(ranges.iter().map(|range| {
                rule(
                    [from.clone(), Match::Tcp, Match::DestinationAddress(*range)],
                    Statement::Jump(REDIRECT),
                )
            })),
        }
        rules.push(rule([from], Statement::Return));
    }
    rules.extend(excluded(options, Match::InputInterface));
    if options.transparent.is_none() {
        rules.push(rule([Match::Tcp], Statement::Jump(INBOUND)));
    }
    chain("prerouting", Some(Hook::NatPrerouting), rules)
}

/// Rules for interfaces that are left alone.
pub fn excluded(
    options: &Options,
    interface: impl Fn(String) -> Match,
) -> impl Iterator<Item = Rule> {
    let names = options.exclude_interfaces.iter().cloned();
    names.map(move |name| rule([interface(name)], Statement::Return))
}

/// Where the pod's own packets enter.
pub fn output(options: &Options, hook: Hook, rules: Vec<Rule>) -> Chain {
    let excluded = excluded(options, Match::OutputInterface);
    chain("output", Some(hook), excluded.chain(rules).collect())
}

/// Sends connections to captured ports to chains, each with a condition or without; `exceptions` come first.
pub fn inbound(
    options: &Options,
    exceptions: Vec<Rule>,
    capture: &[(Option<Match>, &'static str)],
) -> Chain {
    let port = |port: u16| [Match::Tcp, Match::DestinationPort(port)];
    let captured = |matches: &[Match]| -> Vec<Rule> {
        let rules = capture.iter().map(|(condition, to)| {
            let matches = matches.iter().chain(condition).cloned();
            rule(matches.collect::<Vec<_>>(), Statement::Jump(to))
        });
        rules.collect()
    };
    let mut rules = exceptions;
    rules.push(rule(port(options.tunnel_port), Statement::Return));
    match &options.inbound {
        Ports::All => {
            let excluded = options.inbound_exclude.iter();
            rules.extend(excluded.map(|&excluded| rule(port(excluded), Statement::Return)));
            rules.extend(captured(&[Match::Tcp]));
        }
        Ports::Only(ports) => {
            rules.extend(ports.iter().flat_map(|&only| captured(&port(only))));
        }
    }
    chain(INBOUND, None, rules)
}

fn redirect(name: &'static str, port: u16) -> Chain {
    chain(
        name,
        None,
        vec![rule([Match::Tcp], Statement::Redirect(port))],
    )
}

/// Rules for one owner of sockets: its calls to its own service address go to its inbound side, other local calls and
/// its own traffic pass.
fn owner(options: &Options, owner: Match, not_owner: Match) -> Vec<Rule> {
    let local = || Match::OutputInterface(LOOPBACK.to_owned());
    let localhost = single(Ipv4Addr::LOCALHOST.into());
    let to_itself = rule(
        [
            local(),
            Match::Tcp,
            Match::DestinationAddressNot(localhost),
            Match::DestinationPortNot(options.tunnel_port),
            owner.clone(),
        ],
        Statement::Jump(IN_REDIRECT),
    );
    let to_itself = options.transparent.is_none().then_some(to_itself);
    let pass = [
        rule([local(), not_owner], Statement::Return),
        rule([owner], Statement::Return),
    ];
    to_itself.into_iter().chain(pass).collect()
}

fn istio_output(options: &Options) -> Chain {
    let mut rules = Vec::new();
    for &port in &options.outbound_ports_exclude {
        for protocol in [Match::Tcp, Match::Udp] {
            rules.push(rule(
                [protocol, Match::DestinationPort(port)],
                Statement::Return,
            ));
        }
    }
    for address in PASSTHROUGH {
        rules.push(rule(
            [
                Match::OutputInterface(LOOPBACK.to_owned()),
                Match::SourceAddress(single(address)),
            ],
            Statement::Return,
        ));
    }
    for &uid in &options.uids {
        rules.extend(owner(options, Match::User(uid), Match::UserNot(uid)));
    }
    for &gid in &options.gids {
        rules.extend(owner(options, Match::Group(gid), Match::GroupNot(gid)));
    }
    for address in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ] {
        rules.push(rule(
            [Match::DestinationAddress(single(address))],
            Statement::Return,
        ));
    }
    for range in &options.outbound_exclude {
        rules.push(rule([Match::DestinationAddress(*range)], Statement::Return));
    }
    for &port in &options.outbound_ports {
        rules.push(rule(
            [Match::Tcp, Match::DestinationPort(port)],
            Statement::Jump(REDIRECT),
        ));
    }
    match &options.outbound {
        Ranges::All => rules.push(rule([Match::Tcp], Statement::Jump(REDIRECT))),
        Ranges::Only(ranges) => rules.extend(ranges.iter().map(|range| {
            rule(
                [Match::Tcp, Match::DestinationAddress(*range)],
                Statement::Jump(REDIRECT),
            )
        })),
    }
    chain(OUTPUT, None, rules)
}
