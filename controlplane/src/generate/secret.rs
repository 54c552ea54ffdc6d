//! Certificates of gateways.

use bytes::Bytes;
use ironsail_xds::core::{DataSource, data_source};
use ironsail_xds::ext::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};

use crate::generate::Resource;
use crate::model::proxy::Proxy;
use crate::model::secret::TlsSecret;
use crate::model::snapshot::Snapshot;

const SCHEME: &str = "kubernetes://";
const AUTHORITY: &str = "-cacert";

/// A secret by its resource name, `kubernetes://name` or `kubernetes://name-cacert`, from the
/// proxy's own namespace; `None` when it is not there, or has not what is asked for.
pub fn generate(snapshot: &Snapshot, proxy: &Proxy, name: &str) -> Option<Resource> {
    let wanted = name.strip_prefix(SCHEME)?;
    // `namespace/name` is understood, and other namespaces are refused.
    let (namespace, wanted) = wanted
        .split_once('/')
        .unwrap_or((proxy.namespace(), wanted));
    if namespace != proxy.namespace() {
        return None;
    }
    let find = |name: &str| snapshot.secrets.get(namespace, name);
    let body = match wanted.strip_suffix(AUTHORITY) {
        // A Secret of that very name, with nothing but an authority, comes first.
        Some(base) => authority(find(wanted).or_else(|| find(base))?)?,
        None => certificate(find(wanted)?)?,
    };
    let message = Secret {
        name: name.to_owned(),
        r#type: Some(body),
    };
    Some(Resource::encode(name, &message))
}

fn certificate(secret: &TlsSecret) -> Option<secret::Type> {
    Some(secret::Type::TlsCertificate(TlsCertificate {
        certificate_chain: inline(secret.certificate.as_ref()?),
        private_key: inline(secret.private_key.as_ref()?),
        ..Default::default()
    }))
}

fn authority(secret: &TlsSecret) -> Option<secret::Type> {
    Some(secret::Type::ValidationContext(
        CertificateValidationContext {
            trusted_ca: inline(secret.ca_certificate.as_ref()?),
            crl: secret.revocation_list.as_ref().and_then(inline),
            ..Default::default()
        },
    ))
}

fn inline(bytes: &Bytes) -> Option<DataSource> {
    Some(DataSource {
        specifier: Some(data_source::Specifier::InlineBytes(bytes.to_vec())),
        ..Default::default()
    })
}
