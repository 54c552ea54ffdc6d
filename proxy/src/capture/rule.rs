//! Tables, chains and rules, independent of how they are written down.

use std::fmt::Write;

use super::options::Cidr;

/// Tables of family `inet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    pub tables: Vec<Table>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    pub chains: Vec<Chain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub name: &'static str,
    /// Where packets enter; none for chains that are only jumped to.
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// Where packets enter a chain, and what may be done to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Type `nat` at priority -100 (`dstnat`).
    NatPrerouting,
    NatOutput,
    /// Type `filter` at priority -150 (`mangle`).
    ManglePrerouting,
    /// Type `route` at priority -150: a packet whose mark changes is routed again.
    MangleOutput,
}

/// All matches must hold, in order, for the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub matches: Vec<Match>,
    pub statement: Statement,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    Tcp,
    Udp,
    InputInterface(String),
    OutputInterface(String),
    SourceAddress(Cidr),
    DestinationAddress(Cidr),
    DestinationAddressNot(Cidr),
    DestinationPort(u16),
    DestinationPortNot(u16),
    User(u32),
    UserNot(u32),
    Group(u32),
    GroupNot(u32),
    Mark(u32),
    MarkNot(u32),
    ConnectionMark(u32),
    /// Of a connection that has seen packets of both sides, or related to one.
    Established,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    Accept,
    Return,
    Jump(&'static str),
    /// To this port of the pod itself.
    Redirect(u16),
    /// To a transparent socket of this port, as it is, with a mark; only after a match of the address.
    Transparent {
        family: Family,
        port: u16,
        mark: u32,
    },
    SetMark(u32),
    /// The packet's mark becomes that of its connection.
    SaveMark,
    /// The connection's mark becomes that of the packet.
    RestoreMark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Hook {
    /// Type, hook and priority in the syntax of `nft`.
    fn to_text(self) -> &'static str {
        match self {
            Self::NatPrerouting => "type nat hook prerouting priority dstnat",
            Self::NatOutput => "type nat hook output priority dstnat",
            Self::ManglePrerouting => "type filter hook prerouting priority mangle",
            Self::MangleOutput => "type route hook output priority mangle",
        }
    }
}

impl Ruleset {
    /// The rules in the syntax of `nft`.
    pub fn to_text(&self) -> String {
        self.tables.iter().map(Table::to_text).collect()
    }
}

impl Table {
    fn to_text(&self) -> String {
        let mut text = format!("table inet {} {{\n", self.name);
        for chain in &self.chains {
            let _ = writeln!(text, "\tchain {} {{", chain.name);
            if let Some(hook) = chain.hook {
                let _ = writeln!(text, "\t\t{}; policy accept;", hook.to_text());
            }
            for rule in &chain.rules {
                let _ = writeln!(text, "\t\t{}", rule.to_text());
            }
            text.push_str("\t}\n");
        }
        text.push_str("}\n");
        text
    }
}

impl Rule {
    fn to_text(&self) -> String {
        let mut words: Vec<String> = self.matches.iter().map(Match::to_text).collect();
        words.push(self.statement.to_text());
        words.join(" ")
    }
}

impl Match {
    fn to_text(&self) -> String {
        let family = |cidr: &Cidr| if cidr.address.is_ipv4() { "ip" } else { "ip6" };
        match self {
            Self::Tcp => "meta l4proto tcp".to_owned(),
            Self::Udp => "meta l4proto udp".to_owned(),
            Self::InputInterface(name) => format!("iifname \"{name}\""),
            Self::OutputInterface(name) => format!("oifname \"{name}\""),
            Self::SourceAddress(cidr) => format!("{} saddr {cidr}", family(cidr)),
            Self::DestinationAddress(cidr) => format!("{} daddr {cidr}", family(cidr)),
            Self::DestinationAddressNot(cidr) => format!("{} daddr != {cidr}", family(cidr)),
            Self::DestinationPort(port) => format!("th dport {port}"),
            Self::DestinationPortNot(port) => format!("th dport != {port}"),
            Self::User(uid) => format!("meta skuid {uid}"),
            Self::UserNot(uid) => format!("meta skuid != {uid}"),
            Self::Group(gid) => format!("meta skgid {gid}"),
            Self::GroupNot(gid) => format!("meta skgid != {gid}"),
            Self::Mark(mark) => format!("meta mark {mark}"),
            Self::MarkNot(mark) => format!("meta mark != {mark}"),
            Self::ConnectionMark(mark) => format!("ct mark {mark}"),
            Self::Established => "ct state established,related".to_owned(),
        }
    }
}

impl Statement {
    fn to_text(&self) -> String {
        match self {
            Self::Accept => "accept".to_owned(),
            Self::Return => "return".to_owned(),
            Self::Jump(chain) => format!("jump {chain}"),
            Self::Redirect(port) => format!("redirect to :{port}"),
            Self::Transparent { family, port, mark } => {
                let family = match family {
                    Family::V4 => "ip",
                    Family::V6 => "ip6",
                };
                format!("tproxy {family} to :{port} meta mark set {mark} accept")
            }
            Self::SetMark(mark) => format!("meta mark set {mark}"),
            Self::SaveMark => "ct mark set meta mark".to_owned(),
            Self::RestoreMark => "meta mark set ct mark".to_owned(),
        }
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let full = if self.address.is_ipv4() { 32 } else { 128 };
        match self.prefix == full {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}
