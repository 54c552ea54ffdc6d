//! Certificates of a run: made at its begin, written where both proxies read them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ironsail_runtime::tls;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use time::{Duration, OffsetDateTime};

use crate::call::Tls;
use crate::server::Kind;

/// Where the certificates of a run are. `ca.pem` and `other-ca.pem` are roots; of each other name there are
/// `NAME.pem` (chain) and `NAME.key`.
#[derive(Debug)]
pub struct Certificates {
    directory: PathBuf,
}

/// A certificate that is made.
struct Leaf {
    name: &'static str,
    dns: &'static [&'static str],
    uris: &'static [&'static str],
    authority: Authority,
    /// Days from today.
    valid: (i64, i64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Authority {
    Own,
    Other,
}

const VALID: (i64, i64) = (-1, 1);

/// Servers by the names they serve, clients by what is wrong with them.
const LEAVES: &[Leaf] = &[
    leaf("a", &["a.test"], &[]),
    leaf("b", &["b.test"], &[]),
    leaf("wild", &["*.wild.test"], &[]),
    leaf(
        "upstream",
        &["upstream.test"],
        &["spiffe://cluster.local/ns/default/sa/upstream"],
    ),
    leaf(
        "client",
        &[],
        &["spiffe://cluster.local/ns/default/sa/client"],
    ),
    leaf(
        "client-dns",
        &["client.test", "other.test"],
        &["spiffe://cluster.local/ns/default/sa/client"],
    ),
    leaf(
        "client-two",
        &[],
        &[
            "spiffe://cluster.local/ns/a/sa/b",
            "spiffe://cluster.local/ns/c/sa/d",
        ],
    ),
    leaf("client-plain", &[], &[]),
    leaf(
        "client-domain",
        &[],
        &["spiffe://other.domain/ns/default/sa/client"],
    ),
    Leaf {
        valid: (-3, -2),
        ..leaf(
            "client-expired",
            &[],
            &["spiffe://cluster.local/ns/default/sa/client"],
        )
    },
    Leaf {
        valid: (2, 3),
        ..leaf(
            "client-early",
            &[],
            &["spiffe://cluster.local/ns/default/sa/client"],
        )
    },
    Leaf {
        authority: Authority::Other,
        ..leaf(
            "client-stranger",
            &[],
            &["spiffe://cluster.local/ns/default/sa/client"],
        )
    },
];

const fn leaf(
    name: &'static str,
    dns: &'static [&'static str],
    uris: &'static [&'static str],
) -> Leaf {
    Leaf {
        name,
        dns,
        uris,
        authority: Authority::Own,
        valid: VALID,
    }
}

impl Certificates {
    /// Makes all certificates of a run.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn create(directory: &Path) -> anyhow::Result<Self> {
        let own = authority("oracle root")?;
        let other = authority("other root")?;
        std::fs::write(directory.join("ca.pem"), own.pem())?;
        std::fs::write(directory.join("other-ca.pem"), other.pem())?;
        for leaf in LEAVES {
            let issuer = match leaf.authority {
                Authority::Own => &own,
                Authority::Other => &other,
            };
            let key = KeyPair::generate()?;
            let certificate = params(leaf)?.signed_by(&key, issuer)?;
            std::fs::write(
                directory.join(format!("{}.pem", leaf.name)),
                certificate.pem(),
            )?;
            std::fs::write(
                directory.join(format!("{}.key", leaf.name)),
                key.serialize_pem(),
            )?;
        }
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// `NAME.pem`, `NAME.key`.
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Common name of a certificate.
    pub fn name_of(certificate: &CertificateDer<'_>) -> Option<String> {
        // The subject is short and ends the names of a leaf; its text is searched for in the encoding.
        LEAVES.iter().find_map(|leaf| {
            let subject = format!("leaf {}.", leaf.name);
            let found = certificate
                .windows(subject.len())
                .any(|window| window == subject.as_bytes());
            found.then(|| leaf.name.to_owned())
        })
    }

    /// # Errors
    /// There is no such certificate or version.
    pub fn client_config(&self, tls: &Tls) -> anyhow::Result<ClientConfig> {
        let versions = match tls.version.as_deref() {
            None => rustls::ALL_VERSIONS,
            Some("1.2") => &[&rustls::version::TLS12],
            Some("1.3") => &[&rustls::version::TLS13],
            Some(other) => anyhow::bail!("no version {other:?}"),
        };
        let builder = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody));
        let mut config = match &tls.certificate {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let (chain, key) = self.pair(name)?;
                builder.with_client_auth_cert(chain, key)?
            }
        };
        config.enable_sni = tls.sni.is_some();
        config.alpn_protocols = tls
            .alpn
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Ok(config)
    }

    /// # Errors
    /// There is no such certificate.
    pub fn server_config(&self, kind: &Kind) -> anyhow::Result<ServerConfig> {
        let (chain, key) = self.pair(kind.tls.as_deref().unwrap_or("upstream"))?;
        let builder = ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)?;
        let builder = match kind.mutual {
            false => builder.with_no_client_auth(),
            true => {
                let roots = tls::roots_from_pem(&std::fs::read(self.path("ca.pem"))?)?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider());
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = builder.with_single_cert(chain, key)?;
        let names = kind.alpn.clone();
        let names = names.unwrap_or_else(|| vec!["h2".to_owned(), "http/1.1".to_owned()]);
        config.alpn_protocols = names.into_iter().map(String::into_bytes).collect();
        Ok(config)
    }

    fn pair(
        &self,
        name: &str,
    ) -> anyhow::Result<(
        Vec<CertificateDer<'static>>,
        rustls::pki_types::PrivateKeyDer<'static>,
    )> {
        let read = |suffix: &str| {
            let path = self.path(&format!("{name}.{suffix}"));
            std::fs::read(&path).with_context(|| path.display().to_string())
        };
        Ok((
            tls::certificates(&read("pem")?)?,
            tls::private_key(&read("key")?)?,
        ))
    }
}

fn authority(name: &str) -> anyhow::Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn params(leaf: &Leaf) -> anyhow::Result<CertificateParams> {
    let names: Vec<String> = leaf.dns.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, format!("leaf {}.", leaf.name));
    for uri in leaf.uris {
        params
            .subject_alt_names
            .push(SanType::URI((*uri).try_into()?));
    }
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let today = OffsetDateTime::now_utc();
    params.not_before = today + Duration::days(leaf.valid.0);
    params.not_after = today + Duration::days(leaf.valid.1);
    Ok(params)
}

/// Calls are about what proxies answer; whose certificate it is is noted, not judged.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tls::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
