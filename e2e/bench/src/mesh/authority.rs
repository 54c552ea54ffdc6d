//! Signs what agents ask for, with a root that lives as long as the run.

use std::path::Path;

use anyhow::Context;
use ironsail_xds::ca::CertificateService;
use ironsail_xds::istio::{IstioCertificateRequest, IstioCertificateResponse};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::{Request, Response, Status};

/// What a workload proves its identity with, in PEM.
pub struct Credentials {
    pub chain: String,
    pub key: String,
    pub root: String,
}

impl Credentials {
    /// Files in a directory.
    pub const CHAIN: &str = "chain.pem";
    pub const KEY: &str = "key.pem";
    pub const ROOT: &str = "root.pem";

    pub fn write(&self, directory: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(directory)?;
        let files = [
            (Self::CHAIN, &self.chain),
            (Self::KEY, &self.key),
            (Self::ROOT, &self.root),
        ];
        for (name, text) in files {
            std::fs::write(directory.join(name), text)?;
        }
        Ok(())
    }
}

/// A certificate authority in memory.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: String,
}

impl Authority {
    pub fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate().context("key of the root")?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).context("root")?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            root,
        })
    }

    /// PEM of the root.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// TLS of a server with this DNS name, for HTTP/2.
    pub fn server(&self, name: &str) -> anyhow::Result<rustls::ServerConfig> {
        let key = KeyPair::generate().context("key of the server")?;
        let params = CertificateParams::new([name.to_owned()]).context("name of the server")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .context("certificate of the server")?;
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let mut config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    /// A certificate for a workload with this SPIFFE identity.
    pub fn issue(&self, identity: &str) -> anyhow::Result<Credentials> {
        let key = KeyPair::generate().context("key of a workload")?;
        let mut params = CertificateParams::default();
        // A subject that is the issuer's would make it self-signed to some.
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity.try_into().context("identity")?)];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params
            .signed_by(&key, &self.issuer)
            .context("certificate of a workload")?;
        Ok(Credentials {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            root: self.root.clone(),
        })
    }

    fn sign(&self, csr: &str) -> Result<String, rcgen::Error> {
        let mut request = CertificateSigningRequestParams::from_pem(csr)?;
        request.params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        Ok(request.signed_by(&self.issuer)?.pem())
    }
}

impl CertificateService for Authority {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let leaf = self
            .sign(&request.into_inner().csr)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: vec![leaf, self.root.clone()],
        }))
    }
}
