//! [Gateway](https://istio.io/latest/docs/reference/config/networking/gateway/): ports that
//! gateway proxies open.

use std::collections::BTreeMap;

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::object::{Object, Spec};
use crate::wire::{open_enum, wire};

/// A Gateway object.
pub type Gateway = Object<GatewaySpec>;

impl Spec for GatewaySpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::GATEWAY;
}

wire! {
    /// Ports that gateway proxies open, and for which hosts.
    pub struct GatewaySpec {
        /// Pod labels of the gateway proxies; none selects every gateway.
        pub selector: BTreeMap<String, String>,
        /// The ports.
        pub servers: Vec<Server>,
    }

    /// One port of the gateway.
    #[schemars(extend("required" = ["port", "hosts"]))]
    pub struct Server {
        /// Name for people; unique within the mesh.
        pub name: String,
        /// The port.
        pub port: Port,
        /// IP address or Unix socket to listen on; default is every address.
        pub bind: String,
        /// Hosts as `host`, `namespace/host`, `./host` or `*/host`, with `*` for a first label.
        pub hosts: Vec<String>,
        /// TLS of this port.
        pub tls: Option<ServerTlsSettings>,
        /// Not implemented by any version.
        pub default_endpoint: String,
    }

    /// A port of a gateway.
    #[schemars(extend("required" = ["number", "protocol", "name"]))]
    pub struct Port {
        /// Port number, 1 to 65535.
        pub number: u32,
        /// HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS.
        pub protocol: String,
        /// Name, unique within the gateway.
        pub name: String,
        /// Port of the pod, if it is another.
        pub target_port: Option<u32>,
    }

    /// TLS towards clients of the gateway.
    #[schemars(extend("x-kubernetes-validations" = [
        {
            "rule": "(has(self.tlsCertificates) ? 1 : 0) + (has(self.credentialNames) ? 1 : 0) <= 1",
            "message": "only one of credentialNames or tlsCertificates can be set",
        },
        {
            "rule": "(has(self.credentialName) ? 1 : 0) + (has(self.credentialNames) ? 1 : 0) <= 1",
            "message": "only one of credentialName or credentialNames can be set",
        },
        {
            "rule": "(has(self.credentialNames) ? 1 : 0) + (has(self.tlsCertificates) ? 1 : 0) <= 1",
            "message": "only one of credentialName or tlsCertificates can be set",
        },
    ]))]
    pub struct ServerTlsSettings {
        /// Answer plain HTTP with 301 to HTTPS.
        pub https_redirect: bool,
        /// Who ends TLS and whose certificates are asked for.
        pub mode: ServerTlsMode,
        /// File of the certificate chain.
        pub server_certificate: String,
        /// File of the private key.
        pub private_key: String,
        /// File of the CA certificates for clients.
        pub ca_certificates: String,
        /// File of the revocation list for clients.
        pub ca_crl: String,
        /// Secret with key, certificate and perhaps CA.
        pub credential_name: String,
        /// Two secrets: one RSA, one ECDSA.
        #[schemars(length(min = 1, max = 2))]
        pub credential_names: Vec<String>,
        /// Secret or ConfigMap with the CA for clients.
        pub ca_cert_credential_name: String,
        /// Two certificates from files: one RSA, one ECDSA.
        #[schemars(length(min = 1, max = 2))]
        pub tls_certificates: Vec<TlsCertificate>,
        /// Names that a client certificate may carry.
        pub subject_alt_names: Vec<String>,
        /// Base64 SHA-256 of allowed client keys.
        pub verify_certificate_spki: Vec<String>,
        /// Hex SHA-256 of allowed client certificates.
        pub verify_certificate_hash: Vec<String>,
        /// Oldest TLS version.
        pub min_protocol_version: TlsProtocol,
        /// Newest TLS version.
        pub max_protocol_version: TlsProtocol,
        /// Cipher suites, OpenSSL names.
        pub cipher_suites: Vec<String>,
        /// Key exchange curves, in order of preference.
        pub ecdh_curves: Vec<String>,
        /// Accept client certificates without verification.
        #[schemars(extend("nullable" = true))]
        pub insecure_skip_verify: Option<bool>,
    }

    /// A certificate from files.
    pub struct TlsCertificate {
        /// File of the certificate chain.
        pub server_certificate: String,
        /// File of the private key.
        pub private_key: String,
        /// File of the CA certificates.
        pub ca_certificates: String,
    }
}

open_enum! {
    /// Who ends TLS and whose certificates are asked for.
    pub enum ServerTlsMode {
        Passthrough = "PASSTHROUGH",
        Simple = "SIMPLE",
        Mutual = "MUTUAL",
        AutoPassthrough = "AUTO_PASSTHROUGH",
        IstioMutual = "ISTIO_MUTUAL",
        OptionalMutual = "OPTIONAL_MUTUAL",
    }

    /// A version of TLS.
    pub enum TlsProtocol {
        Auto = "TLS_AUTO",
        V1_0 = "TLSV1_0",
        V1_1 = "TLSV1_1",
        V1_2 = "TLSV1_2",
        V1_3 = "TLSV1_3",
    }
}
