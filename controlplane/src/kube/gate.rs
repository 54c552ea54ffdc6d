//! Who may have a stream, and secrets over it: asks the authenticator and the API server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ironsail_mesh::identity::Identity;
use ironsail_runtime::log::chain;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use tracing::warn;

use crate::ca::authenticate::{AuthError, Authenticator, Peer};
use crate::xds::{Answer, Gate};

/// How long an answer is not asked for again.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Identities remembered; a full cache forgets everything.
const MAX_REMEMBERED: usize = 10_000;

/// The gate of a control plane in a cluster.
pub struct KubeGate {
    authenticator: Authenticator,
    reviews: Api<SubjectAccessReview>,
    remembered: Arc<Mutex<HashMap<Identity, (bool, Instant)>>>,
}

impl KubeGate {
    pub fn new(client: Client, authenticator: Authenticator) -> Self {
        Self {
            authenticator,
            reviews: Api::all(client),
            remembered: Arc::default(),
        }
    }

    async fn ask(&self, identity: &Identity) -> bool {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!(
                    "system:serviceaccount:{}:{}",
                    identity.namespace, identity.service_account
                )),
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(identity.namespace.clone()),
                    verb: Some("list".to_owned()),
                    resource: Some("secrets".to_owned()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        match self.reviews.create(&PostParams::default(), &review).await {
            Ok(answer) => answer.status.is_some_and(|status| status.allowed),
            Err(error) => {
                // Closed: no secret without a clear answer.
                warn!(%identity, error = %chain(&error), "Access to secrets cannot be reviewed");
                false
            }
        }
    }
}

impl Gate for KubeGate {
    fn authenticate<'a>(
        &'a self,
        peer: &'a Peer,
        authorization: Option<&'a str>,
    ) -> Answer<'a, Result<Identity, AuthError>> {
        Box::pin(async move {
            let caller = self.authenticator.authenticate(peer, authorization).await?;
            Ok(caller.identity)
        })
    }

    fn may_read_secrets<'a>(&'a self, identity: &'a Identity) -> Answer<'a, bool> {
        Box::pin(async move {
            let now = Instant::now();
            {
                let remembered = self
                    .remembered
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if let Some((allowed, until)) = remembered.get(identity)
                    && *until > now
                {
                    return *allowed;
                }
            }
            let allowed = self.ask(identity).await;
            let mut remembered = self
                .remembered
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(identity.clone(), (allowed, now + REMEMBERED));
            allowed
        })
    }
}
