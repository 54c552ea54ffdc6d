//! Compiling `UpstreamTlsContext`, `DownstreamTlsContext` and secrets.
//!
//! What cannot be understood in the verification of the other side makes handshakes fail; it never makes them laxer.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64::Engine;
use ironsail_runtime::shared;
use ironsail_xds::core::config_source::ConfigSourceSpecifier;
use ironsail_xds::core::proxy_protocol_config::Version;
use ironsail_xds::core::{TransportSocket as SocketProto, transport_socket};
use ironsail_xds::ext::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use ironsail_xds::ext::transport_sockets::raw_buffer::v3::RawBuffer;
use ironsail_xds::ext::transport_sockets::tls::v3 as proto;
use ironsail_xds::matcher::{StringMatcher, string_matcher::MatchPattern};
use ironsail_xds::{is_type, unpack};
use proto::common_tls_context::ValidationContextType;
use proto::subject_alt_name_matcher::SanType;
use proto::tls_parameters::TlsProtocol;
use rustls::{CipherSuite, NamedGroup};

use crate::resource::intern::Interner;
use crate::resource::parse::{self, bool_or};
use crate::resource::transport_socket::{
    CertificateSource, CommonTls, DownstreamSocket, DownstreamTls, Pin, ProxyProtocolVersion,
    RootSource, SanKind, SanMatch, SanPattern, TlsParams, TlsVersions, TransportSocket,
    UpstreamTls, Validation, Verify,
};
use crate::resource::{At, CompileError};
use crate::transport_socket::secret::{AdsSecret, CertificateKey, TrustBundle};
use crate::transport_socket::tls::{ClientContext, ServerContext};

/// SDS name of the workload's own certificate.
pub const WORKLOAD_SECRET: &str = "default";
/// SDS name of the mesh's roots.
pub const ROOT_SECRET: &str = "ROOTCA";
/// SDS names of certificates in files: `file-cert:<chain>~<key>`.
const FILE_CERTIFICATE: &str = "file-cert:";
/// SDS names of roots in files: `file-root:<path>`; `file-root:system` are those of the system.
const FILE_ROOT: &str = "file-root:";
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Compiles the transport of a cluster, or of one of its endpoints.
///
/// # Errors
/// Unknown transports, contexts that do not decode.
pub fn upstream_socket(
    socket: &SocketProto,
    interner: &mut Interner,
) -> Result<TransportSocket, CompileError> {
    let Some(transport_socket::ConfigType::TypedConfig(any)) = &socket.config_type else {
        return Err(CompileError::new("typed_config is missing").at("transport_socket"));
    };
    if is_type::<RawBuffer>(any) {
        return Ok(TransportSocket::RAW);
    }
    if is_type::<ProxyProtocolUpstreamTransport>(any) {
        return proxy_protocol(&unpack(any).at("transport_socket")?, interner);
    }
    if !is_type::<proto::UpstreamTlsContext>(any) {
        let error =
            CompileError::unknown_extension("transport socket", &socket.name, &any.type_url);
        return Err(error.at("transport_socket"));
    }
    let context = interner.client_context(any, |any| {
        let context: proto::UpstreamTlsContext = unpack(any)?;
        let common = context.common_tls_context.unwrap_or_default();
        Ok(ClientContext::new(UpstreamTls {
            sni: context.sni.into(),
            common: compile_common(&common).at("common_tls_context")?,
        }))
    });
    Ok(TransportSocket {
        proxy_protocol: None,
        tls: Some(context.at("transport_socket")?),
    })
}

/// A transport behind a header of the PROXY protocol.
fn proxy_protocol(
    outer: &ProxyProtocolUpstreamTransport,
    interner: &mut Interner,
) -> Result<TransportSocket, CompileError> {
    let version = outer.config.as_ref().map_or(0, |config| config.version);
    let inner = match &outer.transport_socket {
        Some(inner) => upstream_socket(inner, interner)?,
        None => TransportSocket::RAW,
    };
    if inner.proxy_protocol.is_some() {
        return Err(CompileError::new("is nested").at("transport_socket"));
    }
    Ok(TransportSocket {
        proxy_protocol: Some(match Version::try_from(version) {
            Ok(Version::V2) => ProxyProtocolVersion::V2,
            _ => ProxyProtocolVersion::V1,
        }),
        ..inner
    })
}

/// Compiles the transport of a filter chain.
///
/// # Errors
/// Unknown transports, contexts that do not decode or have no certificate.
pub fn downstream_socket(
    socket: Option<&SocketProto>,
    timeout: Duration,
    interner: &mut Interner,
) -> Result<DownstreamSocket, CompileError> {
    let Some(socket) = socket else {
        return Ok(DownstreamSocket::Raw);
    };
    let Some(transport_socket::ConfigType::TypedConfig(any)) = &socket.config_type else {
        return Err(CompileError::new("typed_config is missing").at("transport_socket"));
    };
    if is_type::<RawBuffer>(any) {
        return Ok(DownstreamSocket::Raw);
    }
    if !is_type::<proto::DownstreamTlsContext>(any) {
        let error =
            CompileError::unknown_extension("transport socket", &socket.name, &any.type_url);
        return Err(error.at("transport_socket"));
    }
    let context = interner.server_context(any, |any| {
        let context: proto::DownstreamTlsContext = unpack(any)?;
        let required = bool_or(context.require_client_certificate.as_ref(), false);
        let common = context.common_tls_context.unwrap_or_default();
        let mut common = compile_common(&common).at("common_tls_context")?;
        if common.certificate.is_none() {
            return Err(CompileError::new("no TLS certificate").at("common_tls_context"));
        }
        if required && matches!(common.validation, Validation::None) {
            common.validation = Validation::Deny(
                "client certificates are required but there is nothing to verify them with".into(),
            );
        }
        Ok(ServerContext::new(DownstreamTls {
            common,
            require_client_certificate: required,
        }))
    });
    Ok(DownstreamSocket::Tls {
        context: context.at("transport_socket")?,
        timeout,
    })
}

fn compile_common(common: &proto::CommonTlsContext) -> Result<CommonTls, CompileError> {
    static ALPN: LazyLock<shared::Interner<[Arc<[u8]>]>> = LazyLock::new(Default::default);
    let alpn = common.alpn_protocols.iter();
    let alpn = alpn.map(|protocol| Arc::from(protocol.as_bytes()));
    Ok(CommonTls {
        alpn: ALPN.share(alpn.collect()),
        certificate: certificate_source(common)?,
        validation: validation(common),
        params: common
            .tls_params
            .as_ref()
            .map(params)
            .transpose()
            .at("tls_params")?
            .unwrap_or_default(),
    })
}

fn certificate_source(
    common: &proto::CommonTlsContext,
) -> Result<Option<CertificateSource>, CompileError> {
    if common.custom_handshaker.is_some() || common.custom_tls_certificate_selector.is_some() {
        return Err(CompileError::new(
            "custom handshakers and certificate selectors are not supported",
        ));
    }
    if let Some(config) = common.tls_certificate_sds_secret_configs.first() {
        return sds_certificate(config)
            .at("tls_certificate_sds_secret_configs[0]")
            .map(Some);
    }
    common
        .tls_certificates
        .first()
        .map(|certificate| {
            let key = certificate_key(certificate).at("tls_certificates[0]")?;
            Ok(CertificateSource::Inline(Arc::new(key)))
        })
        .transpose()
}

fn sds_certificate(config: &proto::SdsSecretConfig) -> Result<CertificateSource, CompileError> {
    if is_ads(config) {
        return Ok(CertificateSource::Ads(config.name.as_str().into()));
    }
    if config.name == WORKLOAD_SECRET {
        return Ok(CertificateSource::Workload);
    }
    let files = config.name.strip_prefix(FILE_CERTIFICATE);
    let Some((chain, key)) = files.and_then(|files| files.split_once('~')) else {
        return Err(unknown_secret(&config.name));
    };
    let key = CertificateKey::from_pem(&read(chain)?, &read(key)?)
        .map_err(|error| CompileError::new(error.to_string()))?;
    Ok(CertificateSource::Inline(Arc::new(key)))
}

fn sds_roots(config: &proto::SdsSecretConfig) -> Result<RootSource, CompileError> {
    if is_ads(config) {
        return Ok(RootSource::Ads(config.name.as_str().into()));
    }
    if config.name == ROOT_SECRET {
        return Ok(RootSource::Workload);
    }
    let path = match config.name.strip_prefix(FILE_ROOT) {
        Some("system") => SYSTEM_ROOTS,
        Some(path) => path,
        None => return Err(unknown_secret(&config.name)),
    };
    let roots = TrustBundle::from_pem(&read(path)?, &[])
        .map_err(|error| CompileError::new(error.to_string()))?;
    Ok(RootSource::Inline(Arc::new(roots)))
}

fn unknown_secret(name: &str) -> CompileError {
    CompileError::new(format!("secret {name:?} has no known source")).at("name")
}

fn read(path: &str) -> Result<Vec<u8>, CompileError> {
    std::fs::read(path).map_err(|error| CompileError::new(format!("cannot read {path:?}: {error}")))
}

/// Whether the secret comes over ADS. All others are the agent's.
fn is_ads(config: &proto::SdsSecretConfig) -> bool {
    let source = config.sds_config.as_ref();
    let source = source.and_then(|source| source.config_source_specifier.as_ref());
    matches!(source, Some(ConfigSourceSpecifier::Ads(_)))
}

fn certificate_key(certificate: &proto::TlsCertificate) -> Result<CertificateKey, CompileError> {
    let read = |source: &Option<_>, field| match source {
        Some(source) => parse::data(source).at(field),
        None => Err(CompileError::new("is missing").at(field)),
    };
    if certificate.private_key_provider.is_some() || certificate.pkcs12.is_some() {
        return Err(CompileError::new(
            "only PEM certificates and keys are supported",
        ));
    }
    let chain = read(&certificate.certificate_chain, "certificate_chain")?;
    let key = read(&certificate.private_key, "private_key")?;
    CertificateKey::from_pem(&chain, &key).map_err(|error| CompileError::new(error.to_string()))
}

/// Every error becomes a denial: an older, wider rule must not stay in force.
fn validation(common: &proto::CommonTlsContext) -> Validation {
    let result = match &common.validation_context_type {
        None => return Validation::None,
        Some(ValidationContextType::ValidationContext(context)) => {
            inline_roots(context).and_then(|roots| verification(context, roots))
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(config)) => sds_roots(config)
            .map(|roots| {
                Validation::Verify(Verify {
                    roots,
                    sans: Arc::from([]),
                    pins: Arc::from([]),
                })
            }),
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            combined_validation(combined)
        }
        Some(_) => Err(CompileError::new("certificate providers are not supported")),
    };
    result.unwrap_or_else(|error| Validation::Deny(error.to_string().into()))
}

fn combined_validation(
    combined: &proto::common_tls_context::CombinedCertificateValidationContext,
) -> Result<Validation, CompileError> {
    let context = combined
        .default_validation_context
        .clone()
        .unwrap_or_default();
    let roots = match &combined.validation_context_sds_secret_config {
        Some(config) => Some(sds_roots(config)?),
        None => inline_roots(&context)?,
    };
    verification(&context, roots)
}

fn inline_roots(
    context: &proto::CertificateValidationContext,
) -> Result<Option<RootSource>, CompileError> {
    let roots = match (&context.trusted_ca, &context.system_root_certs) {
        (Some(source), _) => parse::data(source).at("trusted_ca")?,
        (None, Some(_)) => read(SYSTEM_ROOTS)?,
        (None, None) => return Ok(None),
    };
    trust_bundle(&roots, context).map(|bundle| Some(RootSource::Inline(Arc::new(bundle))))
}

fn trust_bundle(
    roots: &[u8],
    context: &proto::CertificateValidationContext,
) -> Result<TrustBundle, CompileError> {
    let crl = context
        .crl
        .as_ref()
        .map(parse::data)
        .transpose()
        .at("crl")?;
    TrustBundle::from_pem(roots, &crl.unwrap_or_default())
        .map_err(|error| CompileError::new(error.to_string()))
}

fn verification(
    context: &proto::CertificateValidationContext,
    roots: Option<RootSource>,
) -> Result<Validation, CompileError> {
    use proto::certificate_validation_context::TrustChainVerification;
    if context.custom_validator_config.is_some() {
        return Err(CompileError::new("custom validators are not supported"));
    }
    let sans = san_matches(context)?;
    let pins = pins(context)?;
    let accept_untrusted =
        context.trust_chain_verification == TrustChainVerification::AcceptUntrusted as i32;
    match roots {
        Some(roots) if !accept_untrusted => Ok(Validation::Verify(Verify {
            roots,
            sans: sans.into(),
            pins: pins.into(),
        })),
        None if sans.is_empty() && pins.is_empty() => Ok(Validation::None),
        Some(_) if sans.is_empty() && pins.is_empty() => Ok(Validation::None),
        _ => Err(CompileError::new(
            "names and pins cannot be verified without a chain to a root",
        )),
    }
}

fn san_matches(
    context: &proto::CertificateValidationContext,
) -> Result<Vec<SanMatch>, CompileError> {
    let typed = context.match_typed_subject_alt_names.iter().map(|typed| {
        let kind = match SanType::try_from(typed.san_type) {
            Ok(SanType::Uri) => SanKind::Uri,
            Ok(SanType::Dns) => SanKind::Dns,
            _ => return Err(CompileError::new("only URI and DNS names can be matched")),
        };
        SanMatch::try_from((Some(kind), typed.matcher.as_ref()))
    });
    #[allow(deprecated)]
    let untyped = context.match_subject_alt_names.iter();
    let untyped = untyped.map(|matcher| SanMatch::try_from((None, Some(matcher))));
    let typed = typed
        .enumerate()
        .map(|(index, san)| san.at(format_args!("match_typed_subject_alt_names[{index}]")));
    let untyped = untyped
        .enumerate()
        .map(|(index, san)| san.at(format_args!("match_subject_alt_names[{index}]")));
    typed.chain(untyped).collect()
}

impl TryFrom<(Option<SanKind>, Option<&StringMatcher>)> for SanMatch {
    type Error = CompileError;

    fn try_from(
        (kind, matcher): (Option<SanKind>, Option<&StringMatcher>),
    ) -> Result<Self, CompileError> {
        let matcher = matcher.ok_or_else(|| CompileError::new("matcher is missing"))?;
        let text = |text: &str| -> Arc<str> {
            if matcher.ignore_case {
                text.to_ascii_lowercase().into()
            } else {
                text.into()
            }
        };
        let pattern = match &matcher.match_pattern {
            Some(MatchPattern::Exact(exact)) => SanPattern::Exact(text(exact)),
            Some(MatchPattern::Prefix(prefix)) => SanPattern::Prefix(text(prefix)),
            Some(MatchPattern::Suffix(suffix)) => SanPattern::Suffix(text(suffix)),
            Some(MatchPattern::Contains(part)) => SanPattern::Contains(text(part)),
            Some(MatchPattern::SafeRegex(regex)) => {
                SanPattern::Regex(parse::full_regex(&regex.regex)?)
            }
            _ => return Err(CompileError::new("string matcher is not supported")),
        };
        Ok(SanMatch {
            kind,
            pattern,
            ignore_case: matcher.ignore_case,
        })
    }
}

fn pins(context: &proto::CertificateValidationContext) -> Result<Vec<Pin>, CompileError> {
    let bad = |text: &str| CompileError::new(format!("{text:?} is no SHA-256 digest"));
    let spki = context.verify_certificate_spki.iter().map(|text| {
        let digest = base64::engine::general_purpose::STANDARD.decode(text);
        let digest = digest.ok().and_then(|digest| digest.try_into().ok());
        digest.map(Pin::Spki).ok_or_else(|| bad(text))
    });
    let whole = context.verify_certificate_hash.iter().map(|text| {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let digest: Option<Vec<u8>> = digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        let digest = digest.and_then(|digest| digest.try_into().ok());
        digest.map(Pin::Certificate).ok_or_else(|| bad(text))
    });
    spki.chain(whole).collect()
}

fn params(params: &proto::TlsParameters) -> Result<TlsParams, CompileError> {
    // AUTO is 1.2 below and 1.3 above, as for servers of Envoy; 1.0 and 1.1 are not to be had.
    let low = match TlsProtocol::try_from(params.tls_minimum_protocol_version) {
        Ok(TlsProtocol::TlSv13) => 3,
        _ => 2,
    };
    let high = match TlsProtocol::try_from(params.tls_maximum_protocol_version) {
        Ok(TlsProtocol::TlSv10) => 0,
        Ok(TlsProtocol::TlSv11) => 1,
        Ok(TlsProtocol::TlSv12) => 2,
        _ => 3,
    };
    let versions = match (low, high) {
        (2, 3) => TlsVersions::Both,
        (2, 2) => TlsVersions::Only12,
        (3, 3) => TlsVersions::Only13,
        _ => return Err(CompileError::new("no supported TLS version is left")),
    };
    let suites: Vec<_> = params
        .cipher_suites
        .iter()
        .filter_map(|n| suite(n))
        .collect();
    if suites.is_empty() && !params.cipher_suites.is_empty() && versions == TlsVersions::Only12 {
        return Err(CompileError::new("no supported cipher suite is left").at("cipher_suites"));
    }
    let groups: Vec<_> = params.ecdh_curves.iter().filter_map(|n| group(n)).collect();
    if groups.is_empty() && !params.ecdh_curves.is_empty() {
        return Err(CompileError::new("no supported curve is left").at("ecdh_curves"));
    }
    Ok(TlsParams {
        versions,
        cipher_suites: (!params.cipher_suites.is_empty()).then_some(suites),
        groups: (!params.ecdh_curves.is_empty()).then_some(groups),
    })
}

/// Suites of TLS 1.2 by OpenSSL's name. Those without forward secrecy or with CBC do not exist here.
fn suite(name: &str) -> Option<CipherSuite> {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    Some(match name {
        "ECDHE-ECDSA-AES128-GCM-SHA256" => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256" => CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES256-GCM-SHA384" => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384" => CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => {
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "ECDHE-RSA-CHACHA20-POLY1305" => CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        _ => return None,
    })
}

fn group(name: &str) -> Option<NamedGroup> {
    Some(match name {
        "X25519" => NamedGroup::X25519,
        "P-256" => NamedGroup::secp256r1,
        "P-384" => NamedGroup::secp384r1,
        "X25519MLKEM768" => NamedGroup::X25519MLKEM768,
        _ => return None,
    })
}

/// Compiles a secret that came over ADS.
///
/// # Errors
/// It does not decode, is of another kind, or cannot be used.
pub fn secret(secret: &proto::Secret) -> Result<AdsSecret, CompileError> {
    use proto::secret::Type;
    match &secret.r#type {
        Some(Type::TlsCertificate(certificate)) => {
            let key = certificate_key(certificate).at("tls_certificate")?;
            Ok(AdsSecret::Certificate(Arc::new(key)))
        }
        Some(Type::ValidationContext(context)) => {
            let roots = context.trusted_ca.as_ref();
            let roots = roots.ok_or_else(|| CompileError::new("trusted_ca is missing"));
            let bundle = roots
                .and_then(parse::data)
                .and_then(|roots| trust_bundle(&roots, context))
                .at("validation_context")?;
            Ok(AdsSecret::Roots(Arc::new(bundle)))
        }
        _ => Err(CompileError::new("kind of secret is not supported")),
    }
}
