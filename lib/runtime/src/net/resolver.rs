//! Names into addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use hickory_resolver::Hosts;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use tracing::warn;

/// Answers kept; a pod asks for a handful of names.
const CACHE_SIZE: u64 = 256;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("resolver configuration cannot be used")]
    Config(#[source] NetError),
    #[error("name {host} does not resolve: {source}")]
    Lookup {
        host: String,
        #[source]
        source: NetError,
    },
    #[error("name {host} has no address")]
    Empty { host: String },
}

/// Resolves names as `resolv.conf` and `/etc/hosts` say; clones share one cache.
#[derive(Clone)]
pub struct Resolver {
    inner: Arc<TokioResolver>,
    hosts: Arc<Hosts>,
}

impl Resolver {
    /// Reads `/etc/resolv.conf` and `/etc/hosts`. As resolv.conf(5) says, a missing file means the name server of
    /// this machine.
    ///
    /// # Errors
    /// The configuration is there and cannot be used.
    pub fn from_system() -> Result<Self, ResolveError> {
        let text = match std::fs::read_to_string(RESOLV_CONF) {
            Ok(text) => text,
            Err(error) => {
                warn!(%error, path = RESOLV_CONF, "Resolver configuration is not readable");
                String::new()
            }
        };
        let hosts = Hosts::from_system().unwrap_or_else(|error| {
            warn!(%error, "Hosts file is not readable");
            Hosts::default()
        });
        Self::new(&text, hosts)
    }

    /// A resolver of the given texts in the formats of resolv.conf and hosts.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn from_texts(resolv_conf: &str, hosts: &str) -> Result<Self, ResolveError> {
        let mut table = Hosts::default();
        table
            .read_hosts_conf(hosts.as_bytes())
            .map_err(|error| ResolveError::Config(error.into()))?;
        Self::new(resolv_conf, table)
    }

    fn new(resolv_conf: &str, hosts: Hosts) -> Result<Self, ResolveError> {
        let (config, mut options) = if resolv_conf.contains("nameserver") {
            parse_resolv_conf(resolv_conf).map_err(ResolveError::Config)?
        } else {
            let local = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
            (
                ResolverConfig::from_parts(None, Vec::new(), vec![local]),
                ResolverOpts::default(),
            )
        };
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.cache_size = CACHE_SIZE;
        // Read here: the library would still ask for the address family that the file does not have.
        options.use_hosts_file = ResolveHosts::Never;
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Ok(Self {
            inner: Arc::new(builder.build().map_err(ResolveError::Config)?),
            hosts: Arc::new(hosts),
        })
    }

    /// Addresses of a host, IPv4 first; an IP literal, also in brackets, is its own address.
    ///
    /// Must run inside a tokio runtime. Cancel safe.
    ///
    /// # Errors
    /// The name does not exist, has no address, or no name server answers.
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let (addresses, _) = self.resolve_with_expiry(host).await?;
        Ok(addresses)
    }

    /// As [`Resolver::resolve`], and when the answer expires; `None`: never.
    ///
    /// # Errors
    /// As [`Resolver::resolve`].
    pub async fn resolve_with_expiry(
        &self,
        host: &str,
    ) -> Result<(Vec<IpAddr>, Option<Instant>), ResolveError> {
        let literal = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        if let Ok(address) = literal.parse() {
            return Ok((vec![address], None));
        }
        let known = self.lookup_hosts(host);
        if !known.is_empty() {
            return Ok((known, None));
        }
        let lookup = self
            .inner
            .lookup_ip(host)
            .await
            .map_err(|source| ResolveError::Lookup {
                host: host.to_owned(),
                source,
            })?;
        let mut addresses: Vec<IpAddr> = lookup.iter().collect();
        addresses.sort_by_key(IpAddr::is_ipv6);
        if addresses.is_empty() {
            return Err(ResolveError::Empty {
                host: host.to_owned(),
            });
        }
        Ok((addresses, Some(lookup.valid_until())))
    }

    fn lookup_hosts(&self, host: &str) -> Vec<IpAddr> {
        let Ok(name) = Name::from_str_relaxed(host) else {
            return Vec::new();
        };
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| {
                self.hosts
                    .lookup_static_host(&Query::query(name.clone(), kind))
            })
            .flat_map(|found| LookupIp::from(found).iter().collect::<Vec<_>>())
            .collect()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver() -> Resolver {
        Resolver::from_texts(
            "nameserver 127.0.0.1\nsearch shop.svc.cluster.local\noptions ndots:5\n",
            "10.1.2.3 istiod.istio-system.svc other\nfd00::1 other\n",
        )
        .expect("valid texts")
    }

    #[tokio::test]
    async fn literals_and_hosts_need_no_server() {
        let resolver = resolver();
        for (host, expected) in [
            ("10.0.0.1", vec!["10.0.0.1"]),
            ("::1", vec!["::1"]),
            ("[fd00::2]", vec!["fd00::2"]),
            ("istiod.istio-system.svc", vec!["10.1.2.3"]),
            ("other", vec!["10.1.2.3", "fd00::1"]),
        ] {
            let expected: Vec<IpAddr> = expected
                .iter()
                .map(|text| text.parse().expect("an address"))
                .collect();
            assert_eq!(
                resolver.resolve(host).await.expect("resolves"),
                expected,
                "{host}"
            );
        }
    }

    #[tokio::test]
    async fn an_impossible_name_is_an_error() {
        assert!(resolver().resolve("a..b").await.is_err());
    }

    #[test]
    fn no_configuration_means_this_machine() {
        assert!(Resolver::from_texts("", "").is_ok());
    }
}
