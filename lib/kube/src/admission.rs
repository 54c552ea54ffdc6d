//! `AdmissionReview` in and out: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use ironsail_runtime::admin::{Request, Response, json, text};
use serde::Deserialize;
use serde_json::{Value, json};

/// A warning longer than this is cut by the API server.
const MAX_WARNING_CHARS: usize = 256;

/// What the API server asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    #[serde(default = "v1")]
    pub api_version: String,
    pub request: ReviewRequest,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewRequest {
    pub uid: String,
    #[serde(default)]
    pub kind: GroupVersionKind,
    #[serde(default)]
    pub resource: GroupVersionResource,
    /// Empty where the API server makes the name.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub operation: String,
    #[serde(default)]
    pub object: Value,
    /// What is there; null unless something is changed or deleted.
    #[serde(default)]
    pub old_object: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct GroupVersionKind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct GroupVersionResource {
    pub group: String,
    pub version: String,
    pub resource: String,
}

fn v1() -> String {
    "admission.k8s.io/v1".to_owned()
}

/// The answer.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Why it is refused.
    pub refusal: Option<String>,
    /// The fields that are refused, for clients that show each.
    pub causes: Vec<Cause>,
    pub warnings: Vec<String>,
    pub patch: Option<Value>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Such as `spec.components.pilot`.
    pub field: String,
    pub message: String,
}

impl Verdict {
    pub fn refused(message: impl Into<String>) -> Self {
        Self {
            refusal: Some(message.into()),
            ..Default::default()
        }
    }
}

/// Reads the request, or says in an HTTP answer why it is none.
///
/// # Errors
/// The body is no `AdmissionReview` with a request.
pub fn parse(request: &Request) -> Result<Review, Box<Response>> {
    serde_json::from_slice(request.body()).map_err(|error| {
        Box::new(text(
            StatusCode::BAD_REQUEST,
            format!("not an AdmissionReview: {error}\n"),
        ))
    })
}

/// The answer to a review.
pub fn answer(review: &Review, verdict: Verdict) -> Response {
    let mut response = json!({
        "uid": review.request.uid,
        "allowed": verdict.refusal.is_none(),
    });
    if let Some(message) = &verdict.refusal {
        response["status"] = status(&review.request, message, &verdict.causes);
    }
    if !verdict.warnings.is_empty() {
        let cut = |text: &String| text.chars().take(MAX_WARNING_CHARS).collect::<String>();
        response["warnings"] = verdict.warnings.iter().map(cut).collect();
    }
    if let Some(patch) = verdict.patch {
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch.to_string()).into();
    }
    let body = json!({
        "apiVersion": review.api_version,
        "kind": "AdmissionReview",
        "response": response,
    });
    json(StatusCode::OK, body.to_string())
}

/// A bad request, or an invalid object where its fields are known.
fn status(request: &ReviewRequest, message: &str, causes: &[Cause]) -> Value {
    if causes.is_empty() {
        return json!({"code": 400, "reason": "BadRequest", "message": message});
    }
    let causes = causes.iter().map(|cause| {
        json!({"reason": "FieldValueInvalid", "field": cause.field, "message": cause.message})
    });
    json!({
        "code": 422, "reason": "Invalid", "message": message,
        "details": {
            "group": request.kind.group, "kind": request.kind.kind, "name": request.name,
            "causes": causes.collect::<Vec<_>>(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn review() -> Review {
        let body = json!({
            "apiVersion": "admission.k8s.io/v1",
            "request": {"uid": "1", "namespace": "a", "object": {"kind": "Pod"}},
        });
        parse(&http::Request::new(body.to_string().into())).expect("a review")
    }

    async fn body(response: Response) -> Value {
        let bytes = response.into_body().collect().await.expect("in memory");
        serde_json::from_slice(&bytes.to_bytes()).expect("JSON")
    }

    #[tokio::test]
    async fn a_refusal_carries_its_message() {
        let json = body(answer(&review(), Verdict::refused("no"))).await;
        assert_eq!(json["response"]["allowed"], false);
        assert_eq!(json["response"]["uid"], "1");
        assert_eq!(json["response"]["status"]["message"], "no");
    }

    #[tokio::test]
    async fn refused_fields_are_named() {
        let cause = Cause {
            field: "spec.a".to_owned(),
            message: "unknown field".to_owned(),
        };
        let verdict = Verdict {
            causes: vec![cause],
            ..Verdict::refused("no")
        };
        let json = body(answer(&review(), verdict)).await;
        let status = &json["response"]["status"];
        assert_eq!(status["reason"], "Invalid");
        assert_eq!(status["details"]["causes"][0]["field"], "spec.a");
    }

    #[tokio::test]
    async fn a_patch_is_base64() {
        let verdict = Verdict {
            patch: Some(json!([])),
            warnings: vec!["w".repeat(300)],
            ..Default::default()
        };
        let json = body(answer(&review(), verdict)).await;
        assert_eq!(json["response"]["patch"], "W10=");
        assert_eq!(
            json["response"]["warnings"][0].as_str().map(str::len),
            Some(256)
        );
    }

    #[test]
    fn other_bodies_are_bad_requests() {
        for text in ["", "{}", "[1]"] {
            let response = parse(&http::Request::new(text.into())).expect_err("no review");
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{text}");
        }
    }
}
