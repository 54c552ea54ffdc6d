//! What proxies and the API server send to the control plane.

use ironsail_controlplane::ca::csr::SigningRequest;
use ironsail_kube::admission;

pub fn csr(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = SigningRequest::from_pem(text);
    }
}

pub fn csr_seeds() -> Vec<Vec<u8>> {
    let key = rcgen::KeyPair::generate().expect("randomness");
    let params = rcgen::CertificateParams::new(vec!["a".to_owned()]).expect("a name");
    let request = params.serialize_request(&key).expect("valid parameters");
    vec![request.pem().expect("valid").into_bytes()]
}

/// A review that is understood can be answered.
pub fn admission(data: &[u8]) {
    let request = http::Request::new(data.to_vec().into());
    if let Ok(review) = admission::parse(&request) {
        admission::answer(&review, admission::Verdict::default());
    }
}

pub fn admission_seeds() -> Vec<Vec<u8>> {
    let review = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},"name":"a","namespace":"b","operation":"CREATE","userInfo":{},"object":{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"d"}]}},"dryRun":false}}"#;
    vec![review.into()]
}
