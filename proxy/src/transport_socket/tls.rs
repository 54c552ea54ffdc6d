//! TLS contexts: rustls configurations built from configuration and secrets, and kept until either changes.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, DnsName, IpAddr, ServerName};
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CipherSuite, ClientConfig, CommonState, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion, version,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, client, server};

use crate::conn::TlsInfo;
use crate::resource::transport_socket::{
    CertificateSource, CommonTls, DownstreamTls, RootSource, TlsParams, TlsVersions, UpstreamTls,
    Validation,
};
use crate::transport_socket::secret::{CertificateKey, Secrets, TrustBundle};
use crate::transport_socket::verify::{self, Policy, Requirements, Verifier};

/// Sessions that a client context remembers for resumption.
const CLIENT_SESSIONS: usize = 32;

/// Why a handshake did not succeed, as text for logs and `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TlsError {
    /// A secret is not there yet. Never answered by going on in plain text.
    #[error("TLS_error: secret {0} is not available")]
    MissingSecret(Arc<str>),
    #[error("TLS_error: {0}")]
    Config(Arc<str>),
    #[error("TLS_error: {0}")]
    Handshake(String),
}

impl From<std::io::Error> for TlsError {
    fn from(error: std::io::Error) -> Self {
        // The identity errors of `verify` are two levels down; their text is what helps.
        let text = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) => {
                other.0.to_string()
            }
            Some(tls) => tls.to_string(),
            None => error.to_string(),
        };
        TlsError::Handshake(text)
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        TlsError::Config(error.to_string().into())
    }
}

/// The secrets that a configuration was built from.
#[derive(Clone, Default)]
struct Inputs {
    certificate: Option<Arc<CertificateKey>>,
    roots: Option<Arc<TrustBundle>>,
}

impl Inputs {
    fn resolve(common: &CommonTls, secrets: &Secrets) -> Result<Self, TlsError> {
        let missing = |name: &str| TlsError::MissingSecret(name.into());
        let workload = secrets.workload.as_ref();
        let certificate = match &common.certificate {
            None => None,
            Some(CertificateSource::Inline(certificate)) => Some(certificate),
            Some(CertificateSource::Workload) => {
                let workload = workload.ok_or_else(|| missing("default"))?;
                Some(&workload.certificate)
            }
            Some(CertificateSource::Ads(name)) => {
                let secret = secrets.ads_certificate(name);
                Some(secret.ok_or_else(|| missing(name))?)
            }
        };
        let roots = match &common.validation {
            Validation::None | Validation::Deny(_) => None,
            Validation::Verify(verify) => Some(match &verify.roots {
                RootSource::Inline(roots) => roots,
                RootSource::Workload => &workload.ok_or_else(|| missing("ROOTCA"))?.roots,
                RootSource::Ads(name) => secrets.ads_roots(name).ok_or_else(|| missing(name))?,
            }),
        };
        Ok(Self {
            certificate: certificate.cloned(),
            roots: roots.cloned(),
        })
    }

    fn is_same(&self, other: &Self) -> bool {
        fn same<T>(a: &Option<Arc<T>>, b: &Option<Arc<T>>) -> bool {
            match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                _ => false,
            }
        }
        same(&self.certificate, &other.certificate) && same(&self.roots, &other.roots)
    }

    fn local_uri_sans(&self) -> Arc<[Arc<str>]> {
        self.certificate.as_ref().map_or_else(
            || Arc::from([]),
            |certificate| Arc::clone(&certificate.uri_sans),
        )
    }

    fn policy(&self, validation: &Validation) -> Policy {
        match (validation, &self.roots) {
            (Validation::Verify(verify), Some(roots)) => Policy::Verify(Requirements {
                roots: Arc::clone(roots),
                sans: Arc::clone(&verify.sans),
                pins: Arc::clone(&verify.pins),
            }),
            (Validation::None, _) => Policy::Any,
            (Validation::Deny(reason), _) => Policy::Deny(Arc::clone(reason)),
            (Validation::Verify(_), None) => Policy::Deny("no roots to verify against".into()),
        }
    }
}

/// TLS towards a cluster. Shared by all workers.
pub struct ClientContext {
    pub tls: UpstreamTls,
    built: ArcSwapOption<BuiltClient>,
}

struct BuiltClient {
    inputs: Inputs,
    config: Arc<ClientConfig>,
}

impl ClientContext {
    pub fn new(tls: UpstreamTls) -> Self {
        Self {
            tls,
            built: ArcSwapOption::empty(),
        }
    }

    /// Performs the handshake.
    ///
    /// `alpn` replaces the configured list, `server_name` the configured name.
    ///
    /// # Errors
    /// A secret is missing, or the handshake failed.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        secrets: &Secrets,
        alpn: Option<&[Arc<[u8]>]>,
        server_name: Option<&str>,
    ) -> Result<(client::TlsStream<S>, TlsInfo), TlsError> {
        if let Validation::Deny(reason) = &self.tls.common.validation {
            return Err(TlsError::Config(Arc::clone(reason)));
        }
        let built = self.build(secrets)?;
        let mut config = Arc::clone(&built.config);
        let name = server_name.unwrap_or(&self.tls.sni);
        let (name, send) = sni(name);
        if alpn.is_some() || !send {
            let own = Arc::make_mut(&mut config);
            own.enable_sni = send;
            if let Some(alpn) = alpn {
                own.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            }
        }
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let info = info(stream.get_ref().1, built.inputs.local_uri_sans());
        Ok((stream, info))
    }

    fn build(&self, secrets: &Secrets) -> Result<Arc<BuiltClient>, TlsError> {
        let inputs = Inputs::resolve(&self.tls.common, secrets)?;
        if let Some(built) = self.built.load_full()
            && built.inputs.is_same(&inputs)
        {
            return Ok(built);
        }
        let common = &self.tls.common;
        let provider = provider(&common.params)?;
        let policy = inputs.policy(&common.validation);
        let verifier = Verifier::new(policy, true, Arc::clone(&provider));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(common.params.versions))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &inputs.certificate {
            Some(key) => {
                let resolver = SingleCertAndKey::from(Arc::clone(&key.certified));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = common.alpn.iter().map(|p| p.to_vec()).collect();
        config.resumption = rustls::client::Resumption::in_memory_sessions(CLIENT_SESSIONS);
        let built = Arc::new(BuiltClient {
            inputs,
            config: Arc::new(config),
        });
        self.built.store(Some(Arc::clone(&built)));
        Ok(built)
    }
}

impl fmt::Debug for ClientContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientContext").field(&self.tls).finish()
    }
}

/// The name for the handshake, and whether it is sent. Names that are none are not sent.
fn sni(name: &str) -> (ServerName<'static>, bool) {
    match DnsName::try_from(name.to_owned()) {
        Ok(name) => (ServerName::DnsName(name), true),
        // rustls needs a name to file sessions under; an address is never sent.
        Err(_) => {
            let unspecified = IpAddr::from(std::net::IpAddr::from([0, 0, 0, 0]));
            (ServerName::IpAddress(unspecified), false)
        }
    }
}

/// TLS that a filter chain ends. Shared by all workers.
pub struct ServerContext {
    pub tls: DownstreamTls,
    built: ArcSwapOption<BuiltServer>,
}

struct BuiltServer {
    inputs: Inputs,
    config: Arc<ServerConfig>,
    /// For clients that offer only protocols we do not have: the handshake goes on without ALPN, as in Envoy.
    without_alpn: Arc<ServerConfig>,
}

/// Presents one certificate whatever the client asks for.
#[derive(Debug)]
struct OneCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ServerContext {
    pub fn new(tls: DownstreamTls) -> Self {
        Self {
            tls,
            built: ArcSwapOption::empty(),
        }
    }

    /// Performs the handshake; a failed one ends with an alert.
    ///
    /// # Errors
    /// A secret is missing, or the handshake failed.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        secrets: &Secrets,
    ) -> Result<(server::TlsStream<S>, TlsInfo), TlsError> {
        if let Validation::Deny(reason) = &self.tls.common.validation {
            return Err(TlsError::Config(Arc::clone(reason)));
        }
        let built = self.build(secrets)?;
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let overlap = match start.client_hello().alpn() {
            None => true,
            Some(mut offered) => {
                offered.any(|name| self.tls.common.alpn.iter().any(|ours| &**ours == name))
            }
        };
        let config = if overlap {
            &built.config
        } else {
            &built.without_alpn
        };
        let stream = start.into_stream(Arc::clone(config)).await?;
        let session = stream.get_ref().1;
        let mut info = info(session, built.inputs.local_uri_sans());
        info.server_name = session
            .server_name()
            .map(|name| name.to_ascii_lowercase().into());
        Ok((stream, info))
    }

    fn build(&self, secrets: &Secrets) -> Result<Arc<BuiltServer>, TlsError> {
        let inputs = Inputs::resolve(&self.tls.common, secrets)?;
        if let Some(built) = self.built.load_full()
            && built.inputs.is_same(&inputs)
        {
            return Ok(built);
        }
        let common = &self.tls.common;
        let provider = provider(&common.params)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions(common.params.versions))?;
        let required = self.tls.require_client_certificate;
        let builder = if matches!(common.validation, Validation::None) && !required {
            builder.with_no_client_auth()
        } else {
            let policy = inputs.policy(&common.validation);
            let verifier = Verifier::new(policy, required, provider);
            builder.with_client_cert_verifier(Arc::new(verifier))
        };
        let key = inputs.certificate.as_ref();
        let key = key.ok_or_else(|| TlsError::Config("no server certificate".into()))?;
        let resolver = OneCertificate(Arc::clone(&key.certified));
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        let without_alpn = Arc::new(config.clone());
        config.alpn_protocols = common.alpn.iter().map(|p| p.to_vec()).collect();
        let built = Arc::new(BuiltServer {
            inputs,
            config: Arc::new(config),
            without_alpn,
        });
        self.built.store(Some(Arc::clone(&built)));
        Ok(built)
    }
}

impl fmt::Debug for ServerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerContext").field(&self.tls).finish()
    }
}

fn versions(versions: TlsVersions) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    static ONLY_12: &[&SupportedProtocolVersion] = &[&version::TLS12];
    static ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];
    match versions {
        TlsVersions::Both => BOTH,
        TlsVersions::Only12 => ONLY_12,
        TlsVersions::Only13 => ONLY_13,
    }
}

/// The crypto provider, narrowed to the suites and groups of `params`.
fn provider(params: &TlsParams) -> Result<Arc<CryptoProvider>, TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    // What Envoy chooses where the processor has AES, and a quarter cheaper than 256 bits.
    let first = CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != first);
    if let Some(wanted) = &params.cipher_suites {
        provider.cipher_suites.retain(|suite| {
            // The list of Envoy concerns TLS 1.2 only.
            matches!(suite, SupportedCipherSuite::Tls13(_)) || wanted.contains(&suite.suite())
        });
    }
    if let Some(wanted) = &params.groups {
        let groups: Vec<&'static dyn SupportedKxGroup> = wanted
            .iter()
            .filter_map(|name| {
                let mut all = aws_lc_rs::ALL_KX_GROUPS.iter();
                all.find(|group| group.name() == *name).copied()
            })
            .collect();
        provider.kx_groups = groups;
    }
    let usable = !provider.kx_groups.is_empty() && !provider.cipher_suites.is_empty();
    if !usable {
        return Err(TlsError::Config(
            "none of the configured cipher suites or groups is supported".into(),
        ));
    }
    Ok(Arc::new(provider))
}

fn info(state: &CommonState, local_uri_sans: Arc<[Arc<str>]>) -> TlsInfo {
    let peer: Option<&[CertificateDer<'_>]> = state.peer_certificates();
    TlsInfo {
        peer: peer.and_then(verify::describe).map(Arc::new),
        local_uri_sans,
        server_name: None,
        alpn: state.alpn_protocol().map(Arc::from),
        version: match state.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: state
            .negotiated_cipher_suite()
            .map(|suite| cipher_name(suite.suite()))
            .unwrap_or_default(),
    }
}

/// Name of a suite as OpenSSL and Envoy write it.
fn cipher_name(suite: rustls::CipherSuite) -> String {
    let name = suite.as_str().unwrap_or_default();
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name
            .trim_start_matches("TLS_")
            .replace("_WITH_AES_128_", "-AES128-")
            .replace("_WITH_AES_256_", "-AES256-")
            .replace("_WITH_", "-")
            .replace('_', "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Authority;

    #[test]
    fn early_data_is_not_taken() {
        let workload = Authority::new().workload("spiffe://cluster.local/ns/a/sa/b");
        let secrets = Secrets {
            workload: Some(workload),
            ..Secrets::default()
        };
        let context = ServerContext::new(DownstreamTls {
            common: CommonTls {
                alpn: Arc::from([]),
                certificate: Some(CertificateSource::Workload),
                validation: Validation::None,
                params: TlsParams::default(),
            },
            require_client_certificate: false,
        });
        let built = context.build(&secrets).expect("everything is there");
        for config in [&built.config, &built.without_alpn] {
            assert_eq!(config.max_early_data_size, 0);
            assert!(!config.send_half_rtt_data);
        }
    }
}
