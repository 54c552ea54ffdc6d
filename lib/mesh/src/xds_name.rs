//! Names that control plane, proxy and tools match on: `outbound|9080|v1|reviews.default.svc.cluster.local`.

use std::fmt;
use std::str::FromStr;

/// Cluster without endpoints: what goes there is refused.
pub const BLACK_HOLE_CLUSTER: &str = "BlackHoleCluster";
/// Cluster that connects to the original destination of outbound traffic.
pub const PASSTHROUGH_CLUSTER: &str = "PassthroughCluster";
/// Cluster that connects to the original destination of inbound traffic.
pub const INBOUND_PASSTHROUGH_CLUSTER: &str = "InboundPassthroughCluster";
/// Listener that captured outbound traffic enters through.
pub const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// Listener that captured inbound traffic enters through.
pub const VIRTUAL_INBOUND: &str = "virtualInbound";

/// Which way a cluster's traffic goes, seen from the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        }
    }
}

/// A cluster's name, `<direction>|<port>|<subset>|<host>`.
///
/// Inbound names leave subset and host empty: `inbound|9080||`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterName {
    pub direction: Direction,
    pub port: u16,
    pub subset: String,
    pub host: String,
}

/// Why a text is no cluster name of this form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not of the form <direction>|<port>|<subset>|<host>")]
pub struct ClusterNameError {
    pub text: String,
}

impl ClusterName {
    pub fn outbound(port: u16, subset: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            direction: Direction::Outbound,
            port,
            subset: subset.into(),
            host: host.into(),
        }
    }

    /// The cluster of the application's own port `target_port`.
    pub fn inbound(target_port: u16) -> Self {
        Self {
            direction: Direction::Inbound,
            port: target_port,
            subset: String::new(),
            host: String::new(),
        }
    }

    /// Server name of mutual TLS to this cluster, `outbound_.80_._.host`.
    pub fn sni(&self) -> String {
        format!(
            "{}_.{}_.{}_.{}",
            self.direction.as_str(),
            self.port,
            self.subset,
            self.host
        )
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}|{}|{}|{}",
            self.direction.as_str(),
            self.port,
            self.subset,
            self.host
        )
    }
}

impl FromStr for ClusterName {
    type Err = ClusterNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ClusterNameError {
            text: text.to_owned(),
        };
        let mut parts = text.splitn(4, '|');
        let direction = match parts.next() {
            Some("inbound") => Direction::Inbound,
            Some("outbound") => Direction::Outbound,
            _ => return Err(error()),
        };
        let port = parts
            .next()
            .and_then(|p| p.parse().ok())
            .ok_or_else(error)?;
        let subset = parts.next().ok_or_else(error)?.to_owned();
        let host = parts.next().ok_or_else(error)?.to_owned();
        Ok(Self {
            direction,
            port,
            subset,
            host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_display_are_inverse() {
        for text in [
            "outbound|9080|v1|reviews.default.svc.cluster.local",
            "outbound|80||web.default.svc.cluster.local",
            "inbound|9080||",
        ] {
            let name: ClusterName = text.parse().expect("a valid name");
            assert_eq!(name.to_string(), text);
        }
        assert!(BLACK_HOLE_CLUSTER.parse::<ClusterName>().is_err());
        assert!("outbound|99999||x".parse::<ClusterName>().is_err());
    }

    #[test]
    fn sni_spells_an_absent_subset_as_underscore() {
        let host = "reviews.default.svc.cluster.local";
        assert_eq!(
            ClusterName::outbound(9080, "v1", host).sni(),
            "outbound_.9080_.v1_.reviews.default.svc.cluster.local"
        );
        assert_eq!(
            ClusterName::outbound(80, "", host).sni(),
            "outbound_.80_._.reviews.default.svc.cluster.local"
        );
    }
}
