//! Tables, chains and rules, independent of how they are written down.

use std::fmt::Write;

use super::options::Cidr;

/// One nf_tables table of family `inet` and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    pub table: &'static str,
    pub chains: Vec<Chain>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub name: &'static str,
    /// Where packets enter; none for chains that are only jumped to.
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// Hooks of type `nat` at priority -100 (`dstnat`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Output,
}

/// All matches must hold, in order, for the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub matches: Vec<Match>,
    pub verdict: Verdict,
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
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Return,
    Jump(&'static str),
    /// To this port of the pod itself.
    Redirect(u16),
}

impl Ruleset {
    /// The rules in the syntax of `nft`.
    pub fn to_text(&self) -> String {
        let mut text = format!("table inet {} {{\n", self.table);
        for chain in &self.chains {
            let _ = writeln!(text, "\tchain {} {{", chain.name);
            if let Some(hook) = chain.hook {
                let hook = match hook {
                    Hook::Prerouting => "prerouting",
                    Hook::Output => "output",
                };
                let _ = writeln!(
                    text,
                    "\t\ttype nat hook {hook} priority dstnat; policy accept;"
                );
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
        words.push(match &self.verdict {
            Verdict::Return => "return".to_owned(),
            Verdict::Jump(chain) => format!("jump {chain}"),
            Verdict::Redirect(port) => format!("redirect to :{port}"),
        });
        words.join(" ")
    }
}

impl Match {
    fn to_text(&self) -> String {
        let family = |cidr: &Cidr| if cidr.address.is_ipv4() { "ip" } else { "ip6" };
        match self {
            Match::Tcp => "meta l4proto tcp".to_owned(),
            Match::Udp => "meta l4proto udp".to_owned(),
            Match::InputInterface(name) => format!("iifname \"{name}\""),
            Match::OutputInterface(name) => format!("oifname \"{name}\""),
            Match::SourceAddress(cidr) => format!("{} saddr {cidr}", family(cidr)),
            Match::DestinationAddress(cidr) => format!("{} daddr {cidr}", family(cidr)),
            Match::DestinationAddressNot(cidr) => format!("{} daddr != {cidr}", family(cidr)),
            Match::DestinationPort(port) => format!("th dport {port}"),
            Match::DestinationPortNot(port) => format!("th dport != {port}"),
            Match::User(uid) => format!("meta skuid {uid}"),
            Match::UserNot(uid) => format!("meta skuid != {uid}"),
            Match::Group(gid) => format!("meta skgid {gid}"),
            Match::GroupNot(gid) => format!("meta skgid != {gid}"),
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
