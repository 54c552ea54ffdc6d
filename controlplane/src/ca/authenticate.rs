//! Who calls: client certificates with SPIFFE identities, and service account tokens.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use base64::Engine as _;
use ironsail_mesh::identity::Identity;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::debug;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long an accepted token is not asked about again; never beyond its own expiry.
const ACCEPTED_FOR: Duration = Duration::from_secs(60);
/// How long a refused token is not asked about again.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Tokens remembered; a full cache forgets the expired, then everything.
const MAX_TOKENS: usize = 16_384;
/// Longer tokens are refused unread.
const MAX_TOKEN_BYTES: usize = 32 * 1024;
const USER_PREFIX: &str = "system:serviceaccount:";

/// The far end of a connection; an extension of its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// Verified client certificates, leaf first.
    pub certificates: Option<Arc<[CertificateDer<'static>]>>,
    /// Whether the connection is TLS with our certificate.
    pub is_tls: bool,
}

/// How a caller proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Certificate,
    Token,
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub identity: Identity,
    pub proof: Proof,
}

/// Why a caller is not authenticated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The text is for the log; callers learn only that it failed.
    #[error("not authenticated: {0}")]
    Unauthenticated(&'static str),
    /// The API server could not be asked.
    #[error("token cannot be reviewed: {0}")]
    Unavailable(String),
}

impl From<AuthError> for tonic::Status {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Unauthenticated(_) => {
                tonic::Status::unauthenticated("request authenticate failure")
            }
            AuthError::Unavailable(_) => {
                tonic::Status::unavailable("tokens cannot be reviewed now")
            }
        }
    }
}

/// What a review said of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    pub authenticated: bool,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// Audiences of the question that the token is meant for.
    pub audiences: Vec<String>,
}

/// Asks whether a token is genuine.
pub trait TokenReviewer: Send + Sync + 'static {
    /// The error is text for the log.
    fn review<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> Pin<Box<dyn Future<Output = Result<Review, String>> + Send + 'a>>;
}

/// Asks the API server: TokenReview.
pub struct KubeReviewer {
    api: Api<TokenReview>,
}

impl KubeReviewer {
    pub fn new(client: Client) -> Self {
        Self {
            api: Api::all(client),
        }
    }
}

impl TokenReviewer for KubeReviewer {
    fn review<'a>(
        &'a self,
        token: &'a str,
        audiences: &'a [String],
    ) -> Pin<Box<dyn Future<Output = Result<Review, String>> + Send + 'a>> {
        Box::pin(async move {
            let question = TokenReview {
                spec: TokenReviewSpec {
                    token: Some(token.to_owned()),
                    audiences: Some(audiences.to_vec()),
                },
                ..Default::default()
            };
            let answer = self
                .api
                .create(&PostParams::default(), &question)
                .await
                .map_err(|error| error.to_string())?;
            let status = answer.status.unwrap_or_default();
            Ok(Review {
                authenticated: status.authenticated.unwrap_or(false),
                username: status
                    .user
                    .and_then(|user| user.username)
                    .unwrap_or_default(),
                audiences: status.audiences.unwrap_or_default(),
            })
        })
    }
}

/// Trust domains of the mesh: its own first, then its aliases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustDomains(pub Vec<String>);

/// Authenticates callers; clones share one cache.
#[derive(Clone)]
pub struct Authenticator {
    reviewer: Arc<dyn TokenReviewer>,
    audiences: Arc<[String]>,
    domains: Arc<ArcSwap<TrustDomains>>,
    cache: Arc<Mutex<HashMap<[u8; 32], Remembered>>>,
}

#[derive(Clone)]
struct Remembered {
    /// Namespace and service account, or the refusal.
    outcome: Result<(String, String), &'static str>,
    until: Instant,
}

impl Authenticator {
    /// `audiences` are those that tokens for this control plane are made for, usually `istio-ca`.
    pub fn new(
        reviewer: Arc<dyn TokenReviewer>,
        audiences: Vec<String>,
        domains: Arc<ArcSwap<TrustDomains>>,
    ) -> Self {
        Self {
            reviewer,
            audiences: audiences.into(),
            domains,
            cache: Arc::default(),
        }
    }

    /// A client certificate with an identity of this mesh, else a bearer token.
    ///
    /// `authorization` is the header's value.
    ///
    /// # Errors
    /// Neither proves an identity, or the API server cannot be asked.
    pub async fn authenticate(
        &self,
        peer: &Peer,
        authorization: Option<&str>,
    ) -> Result<Caller, AuthError> {
        if let Some(identity) = self.certificate_identity(peer) {
            return Ok(Caller {
                identity,
                proof: Proof::Certificate,
            });
        }
        let token = authorization
            .and_then(bearer)
            .ok_or(AuthError::Unauthenticated(
                "neither client certificate nor bearer token",
            ))?;
        let (namespace, service_account) = self.review(token).await?;
        let domains = self.domains.load();
        let domain = domains.0.first().map_or("", String::as_str);
        Ok(Caller {
            identity: Identity::new(domain, namespace, service_account),
            proof: Proof::Token,
        })
    }

    fn certificate_identity(&self, peer: &Peer) -> Option<Identity> {
        let leaf = peer.certificates.as_deref()?.first()?;
        let identity = spiffe_identity(leaf)?;
        let known = self.domains.load().0.contains(&identity.trust_domain);
        known.then_some(identity)
    }

    async fn review(&self, token: &str) -> Result<(String, String), AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::Unauthenticated("token is too long"));
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let now = Instant::now();
        if let Some(known) = self.remembered(&hash, now) {
            return known.map_err(AuthError::Unauthenticated);
        }
        let review = self
            .reviewer
            .review(token, &self.audiences)
            .await
            .map_err(AuthError::Unavailable)?;
        let outcome = judge(&review, &self.audiences);
        let span = match &outcome {
            Ok(_) => ACCEPTED_FOR.min(remaining(token)),
            Err(reason) => {
                debug!(reason, "Token refused");
                REFUSED_FOR
            }
        };
        self.remember(
            hash,
            Remembered {
                outcome: outcome.clone(),
                until: now + span,
            },
        );
        outcome.map_err(AuthError::Unauthenticated)
    }

    fn remembered(
        &self,
        hash: &[u8; 32],
        now: Instant,
    ) -> Option<Result<(String, String), &'static str>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .get(hash)
            .filter(|known| known.until > now)
            .map(|known| known.outcome.clone())
    }

    fn remember(&self, hash: [u8; 32], entry: Remembered) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_TOKENS {
            let now = Instant::now();
            cache.retain(|_, known| known.until > now);
            if cache.len() >= MAX_TOKENS {
                cache.clear();
            }
        }
        cache.insert(hash, entry);
    }
}

fn judge(review: &Review, audiences: &[String]) -> Result<(String, String), &'static str> {
    if !review.authenticated {
        return Err("token is not genuine");
    }
    // An API server that knows audiences answers with those that fit; without any the token is for somebody else.
    if !review.audiences.iter().any(|a| audiences.contains(a)) {
        return Err("token is for another audience");
    }
    let (namespace, account) = review
        .username
        .strip_prefix(USER_PREFIX)
        .and_then(|rest| rest.split_once(':'))
        .filter(|(namespace, account)| !namespace.is_empty() && !account.is_empty())
        .ok_or("token is no service account's")?;
    Ok((namespace.to_owned(), account.to_owned()))
}

/// The token of a header `Bearer <token>`.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Time until a JWT expires by its own claim; unreadable ones are not remembered.
fn remaining(token: &str) -> Duration {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: u64,
    }
    let claims = token
        .split('.')
        .nth(1)
        .and_then(|part| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(part)
                .ok()
        })
        .and_then(|bytes| serde_json::from_slice::<Claims>(&bytes).ok());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    claims.map_or(Duration::ZERO, |claims| {
        Duration::from_secs(claims.exp).saturating_sub(now)
    })
}

/// The workload identity among a certificate's URI names; exactly one URI is allowed by SPIFFE.
pub fn spiffe_identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let mut uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => uri.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
