//! Interception mode TPROXY: inbound connections reach the proxy with the addresses of both ends, and the proxy calls
//! the application with the client's. What carries the mark is delivered within the pod, see [`super::routing`].
//! <https://docs.kernel.org/networking/tproxy.html>

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::options::{Options, Transparent};
use super::rule::{Chain, Family, Hook, Match, Rule, Statement, Table};
use super::ruleset::{
    INBOUND, LOOPBACK, PASSTHROUGH, chain, excluded, inbound, output, rule, single,
};

pub const MANGLE: &str = "istio-proxy-mangle";
const DIVERT: &str = "istio-divert";
const TPROXY: &str = "istio-tproxy";

/// Of the proxy's own connections to its pod, which its inbound side takes as those of others.
const TO_ITSELF: u32 = 1338;

/// The table that marks packets.
pub fn mangle(options: &Options, transparent: &Transparent) -> Table {
    let mark = transparent.mark;
    Table {
        name: MANGLE,
        chains: vec![
            prerouting(options, mark),
            output(options, Hook::MangleOutput, outgoing(options, mark)),
            inbound(
                options,
                exceptions(mark),
                &[(Some(Match::Established), DIVERT), (None, TPROXY)],
            ),
            divert(mark),
            to_proxy(options, mark),
        ],
    }
}

/// The mark of a packet of the proxy to the application becomes that of the connection, so that the answers, which
/// are for the client by their address, get it too.
fn prerouting(options: &Options, mark: u32) -> Chain {
    let mut rules: Vec<Rule> = excluded(options, Match::InputInterface).collect();
    rules.push(rule([Match::Tcp], Statement::Jump(INBOUND)));
    rules.push(rule([Match::Tcp, Match::Mark(mark)], Statement::SaveMark));
    chain("prerouting", Some(Hook::ManglePrerouting), rules)
}

fn local() -> Match {
    Match::OutputInterface(LOOPBACK.to_owned())
}

fn outgoing(options: &Options, mark: u32) -> Vec<Rule> {
    let users = options.uids.iter().copied().map(Match::User);
    let groups = options.gids.iter().copied().map(Match::Group);
    let owners = users.chain(groups).flat_map(|owner| {
        localhosts().map(|(_, not_localhost)| {
            rule(
                [local(), Match::Tcp, not_localhost, owner.clone()],
                Statement::SetMark(TO_ITSELF),
            )
        })
    });
    let to_application = rule([local(), Match::Tcp, Match::Mark(mark)], Statement::Return);
    let answers = rule(
        [Match::Tcp, Match::ConnectionMark(mark)],
        Statement::RestoreMark,
    );
    [to_application]
        .into_iter()
        .chain(owners)
        .chain([answers])
        .collect()
}

/// What the proxy sends to the application, and what others within the pod send each other.
fn exceptions(mark: u32) -> Vec<Rule> {
    let local = || Match::InputInterface(LOOPBACK.to_owned());
    let mut rules = vec![rule([Match::Tcp, Match::Mark(mark)], Statement::Return)];
    rules.extend(PASSTHROUGH.map(|address| {
        let from = Match::SourceAddress(single(address));
        rule([local(), Match::Tcp, from], Statement::Return)
    }));
    rules.push(rule(
        [local(), Match::Tcp, Match::MarkNot(TO_ITSELF)],
        Statement::Return,
    ));
    rules
}

fn divert(mark: u32) -> Chain {
    let rules = vec![
        rule([], Statement::SetMark(mark)),
        rule([], Statement::Accept),
    ];
    chain(DIVERT, None, rules)
}

fn to_proxy(options: &Options, mark: u32) -> Chain {
    let port = options.inbound_port;
    let rules = localhosts().map(|(family, not_localhost)| {
        let statement = Statement::Transparent { family, port, mark };
        rule([Match::Tcp, not_localhost], statement)
    });
    chain(TPROXY, None, rules.into())
}

/// Both families, and their packets that are not for the own host.
fn localhosts() -> [(Family, Match); 2] {
    [
        (Family::V4, IpAddr::from(Ipv4Addr::LOCALHOST)),
        (Family::V6, IpAddr::from(Ipv6Addr::LOCALHOST)),
    ]
    .map(|(family, address)| (family, Match::DestinationAddressNot(single(address))))
}
