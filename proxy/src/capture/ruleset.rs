//! Which rules the options mean. Order matters and is the peer's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::options::{Cidr, Options, Ports, Ranges};
use super::rule::{Chain, Hook, Match, Rule, Ruleset, Verdict};

const TABLE: &str = "istio-proxy-nat";
const INBOUND: &str = "istio-inbound";
const OUTPUT: &str = "istio-output";
const REDIRECT: &str = "istio-redirect";
const IN_REDIRECT: &str = "istio-in-redirect";

const LOOPBACK: &str = "lo";

/// The proxy connects to the application from this address, and must not meet itself.
const PASSTHROUGH_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
const PASSTHROUGH_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// The rules of `options`.
pub fn build(options: &Options) -> Ruleset {
    Ruleset {
        table: TABLE,
        chains: vec![
            prerouting(options),
            output(options),
            inbound(options),
            redirect(REDIRECT, options.outbound_port),
            redirect(IN_REDIRECT, options.inbound_port),
            istio_output(options),
        ],
    }
}

fn chain(name: &'static str, hook: Option<Hook>, rules: Vec<Rule>) -> Chain {
    Chain { name, hook, rules }
}

fn rule(matches: impl Into<Vec<Match>>, verdict: Verdict) -> Rule {
    Rule {
        matches: matches.into(),
        verdict,
    }
}

fn single(address: IpAddr) -> Cidr {
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
            Ranges::All => rules.push(rule([from.clone(), Match::Tcp], Verdict::Jump(REDIRECT))),
            Ranges::Only(ranges) => rules.extend(ranges.iter().map(|range| {
                rule(
                    [from.clone(), Match::Tcp, Match::DestinationAddress(*range)],
                    Verdict::Jump(REDIRECT),
                )
            })),
        }
        rules.push(rule([from], Verdict::Return));
    }
    for name in &options.exclude_interfaces {
        rules.push(rule([Match::InputInterface(name.clone())], Verdict::Return));
    }
    rules.push(rule([Match::Tcp], Verdict::Jump(INBOUND)));
    chain("prerouting", Some(Hook::Prerouting), rules)
}

fn output(options: &Options) -> Chain {
    let excluded = options
        .exclude_interfaces
        .iter()
        .map(|name| rule([Match::OutputInterface(name.clone())], Verdict::Return));
    let rules = excluded.chain([rule([], Verdict::Jump(OUTPUT))]).collect();
    chain("output", Some(Hook::Output), rules)
}

fn inbound(options: &Options) -> Chain {
    let port = |port: u16| [Match::Tcp, Match::DestinationPort(port)];
    let mut rules = vec![rule(port(options.tunnel_port), Verdict::Return)];
    match &options.inbound {
        Ports::All => {
            let excluded = options.inbound_exclude.iter();
            rules.extend(excluded.map(|&excluded| rule(port(excluded), Verdict::Return)));
            rules.push(rule([Match::Tcp], Verdict::Jump(IN_REDIRECT)));
        }
        Ports::Only(ports) => {
            rules.extend(
                ports
                    .iter()
                    .map(|&only| rule(port(only), Verdict::Jump(IN_REDIRECT))),
            );
        }
    }
    chain(INBOUND, None, rules)
}

fn redirect(name: &'static str, port: u16) -> Chain {
    chain(
        name,
        None,
        vec![rule([Match::Tcp], Verdict::Redirect(port))],
    )
}

/// Rules for one owner of sockets: its calls to its own service address go to its inbound side, other local calls and
/// its own traffic pass.
fn owner(options: &Options, owner: Match, not_owner: Match) -> [Rule; 3] {
    let local = || Match::OutputInterface(LOOPBACK.to_owned());
    let localhost = single(Ipv4Addr::LOCALHOST.into());
    [
        rule(
            [
                local(),
                Match::Tcp,
                Match::DestinationAddressNot(localhost),
                Match::DestinationPortNot(options.tunnel_port),
                owner.clone(),
            ],
            Verdict::Jump(IN_REDIRECT),
        ),
        rule([local(), not_owner], Verdict::Return),
        rule([owner], Verdict::Return),
    ]
}

fn istio_output(options: &Options) -> Chain {
    let mut rules = Vec::new();
    for &port in &options.outbound_ports_exclude {
        for protocol in [Match::Tcp, Match::Udp] {
            rules.push(rule(
                [protocol, Match::DestinationPort(port)],
                Verdict::Return,
            ));
        }
    }
    for address in [IpAddr::from(PASSTHROUGH_V4), IpAddr::from(PASSTHROUGH_V6)] {
        rules.push(rule(
            [
                Match::OutputInterface(LOOPBACK.to_owned()),
                Match::SourceAddress(single(address)),
            ],
            Verdict::Return,
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
            Verdict::Return,
        ));
    }
    for range in &options.outbound_exclude {
        rules.push(rule([Match::DestinationAddress(*range)], Verdict::Return));
    }
    for &port in &options.outbound_ports {
        rules.push(rule(
            [Match::Tcp, Match::DestinationPort(port)],
            Verdict::Jump(REDIRECT),
        ));
    }
    match &options.outbound {
        Ranges::All => rules.push(rule([Match::Tcp], Verdict::Jump(REDIRECT))),
        Ranges::Only(ranges) => rules.extend(ranges.iter().map(|range| {
            rule(
                [Match::Tcp, Match::DestinationAddress(*range)],
                Verdict::Jump(REDIRECT),
            )
        })),
    }
    chain(OUTPUT, None, rules)
}
