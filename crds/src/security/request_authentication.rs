//! [RequestAuthentication](https://istio.io/latest/docs/reference/config/security/request_authentication/):
//! which tokens are valid.

use crate::condition::MeshStatus;
use crate::kind::{self, Kind};
use crate::object::{Object, Spec};
use crate::schema::part;
use crate::security::peer_authentication::WorkloadSelector;
use crate::target_ref::PolicyTargetReference;
use crate::wire::{DurationString, open_enum, wire};

/// A RequestAuthentication object.
pub type RequestAuthentication = Object<RequestAuthenticationSpec>;

impl Spec for RequestAuthenticationSpec {
    type Status = MeshStatus;
    const KIND: &'static Kind = &kind::REQUEST_AUTHENTICATION;
}

wire! {
    /// Which tokens are valid.
    #[schemars(extend("x-kubernetes-validations" = part::one_target(&["selector", "targetRef", "targetRefs"])))]
    pub struct RequestAuthenticationSpec {
        /// Workloads this is for; default is the whole namespace, in the root namespace the mesh.
        pub selector: Option<WorkloadSelector>,
        /// Deprecated, use targetRefs.
        pub target_ref: Option<PolicyTargetReference>,
        /// Objects this is for.
        #[schemars(length(max = 16))]
        pub target_refs: Vec<PolicyTargetReference>,
        /// One rule per issuer.
        #[schemars(length(max = 4096))]
        pub jwt_rules: Vec<JwtRule>,
    }

    /// Tokens of one issuer.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "(has(self.jwksUri) ? 1 : 0) + (has(self.jwks_uri) ? 1 : 0) + (has(self.jwks) ? 1 : 0) <= 1",
        "message": "only one of jwks or jwksUri can be set",
    }]))]
    pub struct JwtRule {
        /// The issuer.
        #[schemars(length(min = 1))]
        pub issuer: String,
        /// Audiences allowed; none allows the service's names.
        #[schemars(inner(length(min = 1)))]
        pub audiences: Vec<String>,
        /// Where the keys are; default is found by OpenID discovery.
        #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = part::jwks_uri_rules()))]
        pub jwks_uri: Option<String>,
        /// Older spelling of jwksUri.
        #[serde(rename = "jwks_uri")]
        #[schemars(length(min = 1, max = 2048), extend("x-kubernetes-validations" = part::jwks_uri_rules()))]
        pub jwks_uri_snake: Option<String>,
        /// The keys themselves, a JSON Web Key Set.
        pub jwks: Option<String>,
        /// Headers with a token.
        pub from_headers: Vec<JwtHeader>,
        /// Query parameters with a token.
        #[schemars(inner(length(min = 1)))]
        pub from_params: Vec<String>,
        /// Cookies with a token.
        #[schemars(inner(length(min = 1)))]
        pub from_cookies: Vec<String>,
        /// Header that gets the token's payload.
        pub output_payload_to_header: String,
        /// Headers that get claims of the token.
        pub output_claim_to_headers: Vec<ClaimToHeader>,
        /// Leave the token in the request.
        pub forward_original_token: bool,
        /// Limit for fetching the keys; default 5s.
        pub timeout: Option<DurationString>,
        /// Claims that are lists separated by spaces.
        #[schemars(length(max = 64), inner(length(min = 1)))]
        pub space_delimited_claims: Vec<String>,
        /// Whether a request must have a token.
        pub presence: TokenPresence,
    }

    /// A header with a token.
    #[schemars(extend("required" = ["name"]))]
    pub struct JwtHeader {
        /// Name.
        #[schemars(length(min = 1))]
        pub name: String,
        /// What stands before the token.
        pub prefix: String,
    }

    /// A header that gets a claim.
    #[schemars(extend("required" = ["header", "claim"]))]
    pub struct ClaimToHeader {
        /// Name of the header.
        #[schemars(length(min = 1), extend("pattern" = "^[-_A-Za-z0-9]+$"))]
        pub header: String,
        /// Name of the claim, `a.b` for one within another.
        #[schemars(length(min = 1))]
        pub claim: String,
    }
}

open_enum! {
    /// Whether a request must have a token.
    pub enum TokenPresence {
        Optional = "OPTIONAL",
        Required = "REQUIRED",
    }
}

impl JwtRule {
    /// Where the keys are, in either spelling.
    #[must_use]
    pub fn key_location(&self) -> Option<&str> {
        self.jwks_uri.as_deref().or(self.jwks_uri_snake.as_deref())
    }
}
