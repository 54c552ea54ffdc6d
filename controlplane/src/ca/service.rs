//! The certificate service: who asks gets a certificate for who it is.

use ironsail_xds::ca::CertificateService;
use ironsail_xds::istio::{IstioCertificateRequest, IstioCertificateResponse};
use ironsail_xds::ordered::Kind;
use time::{Duration, OffsetDateTime};
use tonic::{Request, Response, Status};
use tracing::{debug, warn};

use crate::ca::authenticate::{Authenticator, Peer};
use crate::ca::authority::{SignError, TtlPolicy};
use crate::ca::csr::SigningRequest;
use crate::ca::handle::{CaHandle, CaState};
use crate::ca::metrics::CaMetrics;

/// Signs for authenticated callers; the request's [`Peer`] is an extension.
pub struct CaService {
    pub handle: CaHandle,
    pub authenticator: Authenticator,
    pub policy: TtlPolicy,
    pub metrics: CaMetrics,
}

impl CertificateService for CaService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        self.metrics.csr_count.inc();
        let peer = request
            .extensions()
            .get::<Peer>()
            .cloned()
            .ok_or_else(|| Status::internal("connection is unknown"))?;
        let authorization = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let caller = self
            .authenticator
            .authenticate(&peer, authorization)
            .await
            .map_err(|error| {
                self.metrics.authentication_failures.inc();
                warn!(peer = %peer.address, %error, "Caller of the certificate service refused");
                Status::from(error)
            })?;
        let message = request.into_inner();
        if let Some(other) = impersonated(&message) {
            self.metrics.authentication_failures.inc();
            warn!(caller = %caller.identity, %other, "Certificate for another identity refused");
            return Err(Status::unauthenticated(
                "request impersonation authentication failure",
            ));
        }
        let csr = SigningRequest::from_pem(&message.csr).map_err(|error| {
            self.metrics.csr_parsing_errors.inc();
            Status::invalid_argument(format!("signing request cannot be used: {error}"))
        })?;
        let authority = match self.handle.state() {
            CaState::Ready(authority) => authority,
            CaState::Starting => return Err(self.not_ready("certificate authority is starting")),
            // What is wrong is in the log; callers need not know.
            CaState::Refusing(_) => {
                return Err(self.not_ready("certificate authority is not usable"));
            }
        };
        let ttl = Duration::seconds(message.validity_duration);
        let cert_chain = authority
            .sign_workload(
                &csr,
                &caller.identity,
                ttl,
                self.policy,
                OffsetDateTime::now_utc(),
            )
            .map_err(|error| self.refused(&error))?;
        self.metrics.successes.inc();
        debug!(caller = %caller.identity, proof = ?caller.proof, "Signed a certificate");
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

impl CaService {
    fn not_ready(&self, text: &'static str) -> Status {
        self.metrics
            .csr_sign_errors
            .with_label_values(&["ca_not_ready"])
            .inc();
        Status::unavailable(text)
    }

    fn refused(&self, error: &SignError) -> Status {
        let (label, status) = match error {
            SignError::TtlTooLong { .. } => {
                ("ttl_error", Status::invalid_argument(error.to_string()))
            }
            SignError::Identity(_) => {
                self.metrics.id_extraction_errors.inc();
                (
                    "csr_sign_error",
                    Status::internal("identity cannot be certified"),
                )
            }
            SignError::Expired(_) | SignError::Sign(_) => {
                ("csr_sign_error", Status::internal("signing failed"))
            }
        };
        warn!(%error, "Certificate not signed");
        self.metrics
            .csr_sign_errors
            .with_label_values(&[label])
            .inc();
        status
    }
}

/// The identity of another that the request asks for; nodes' own agents may do that, which none is here.
fn impersonated(request: &IstioCertificateRequest) -> Option<String> {
    let fields = &request.metadata.as_ref()?.fields;
    match &fields.get("ImpersonatedIdentity")?.kind {
        Some(Kind::String(text)) if text.is_empty() => None,
        Some(Kind::String(text)) => Some(text.clone()),
        Some(Kind::Null(_)) | None => None,
        Some(_) => Some("malformed".to_owned()),
    }
}
