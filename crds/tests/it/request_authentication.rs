use ironsail_crds::kind::REQUEST_AUTHENTICATION;

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    crate::check(&REQUEST_AUTHENTICATION, spec, expected);
}

/// A rule with an issuer; paths are relative to it.
#[track_caller]
fn rule(rule: &str, expected: &[&str]) {
    let spec = format!("jwtRules: [{{issuer: a, {rule}}}]");
    crate::check_below(&REQUEST_AUTHENTICATION, &spec, "spec.jwtRules[0]", expected);
}

#[test]
fn accepts() {
    check("{}", &[]);
    check(
        r#"
        selector: {matchLabels: {app: a}}
        jwtRules:
        - issuer: https://issuer.example.com
          audiences: [a]
          jwksUri: https://issuer.example.com:8443/keys
          fromHeaders: [{name: x-token, prefix: "Token "}]
          fromParams: [token]
          fromCookies: [token]
          outputPayloadToHeader: x-payload
          outputClaimToHeaders: [{header: x-sub, claim: sub}, {header: x-a, claim: a.b}]
          forwardOriginalToken: true
          timeout: 5s
          spaceDelimitedClaims: [scope]
          presence: REQUIRED
        - {issuer: b, jwks_uri: "https://[::1]/keys"}
        - {issuer: c, jwks: '{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}, {"kty": "EC", "crv": "P-256", "x": "a", "y": "b"}]}'}
        - {issuer: d, jwks: '{"kty": "oct", "k": "AQAB"}'}
        - {issuer: e}
        "#,
        &[],
    );
}

#[test]
fn issuers() {
    check(
        "jwtRules: [{}, {issuer: \"\"}]",
        &[
            "error spec.jwtRules[1].issuer: must not be empty",
            "error spec.jwtRules[0].issuer: is required",
        ],
    );
}

#[test]
fn keys() {
    rule(
        "jwksUri: \"https://a\", jwks_uri: \"https://b\", jwks: '{}'",
        &[
            "error : only one of jwksUri, jwks_uri, jwks can be set",
            "error jwks: has no key type kty",
        ],
    );
    rule(
        "jwksUri: \"ftp://a\"",
        &["error jwksUri: \"ftp://a\" must begin with http:// or https://"],
    );
    rule(
        "jwksUri: \"https:///keys\"",
        &["error jwksUri: \"https:///keys\" is no address of a file"],
    );
    rule(
        "jwksUri: \"https://a:b/keys\"",
        &["error jwksUri: \"https://a:b/keys\" has no valid port"],
    );
    rule(
        "jwks_uri: \"http://a/keys\"",
        &["warning jwks_uri: keys fetched without TLS can be exchanged on the way"],
    );
    rule("jwksUri: \"\"", &["error jwksUri: must not be empty"]);
}

#[test]
fn inline_keys() {
    rule(
        "jwks: abc",
        &["error jwks: is no JSON: expected value at line 1 column 1"],
    );
    rule(
        "jwks: '{\"keys\": []}'",
        &["error jwks: keys must be a list with at least one key"],
    );
    rule(
        "jwks: '{\"keys\": [{\"kty\": \"oct\", \"k\": \"a\"}, {\"kty\": \"RSA\", \"n\": \"a b\"}]}'",
        &["error jwks: keys[1] of type RSA must have n in base64url"],
    );
    rule(
        "jwks: '{\"kty\": \"DSA\"}'",
        &["error jwks: has the unknown key type \"DSA\""],
    );
}

#[test]
fn places() {
    rule(
        "audiences: [\"\"], fromHeaders: [{}, {name: \"a b\"}], fromParams: [\"\"], fromCookies: [\"\"], outputClaimToHeaders: [{header: \"a b\"}]",
        &[
            "error audiences[0]: must not be empty",
            "error fromHeaders[0].name: is required",
            "error fromParams[0]: must not be empty",
            "error fromCookies[0]: must not be empty",
            "error outputClaimToHeaders[0].header: \"a b\" does not match ^[-_A-Za-z0-9]+$",
            "error outputClaimToHeaders[0].claim: is required",
            "error fromHeaders[1].name: \"a b\" is no valid header name",
        ],
    );
    rule(
        "outputPayloadToHeader: \"a b\", timeout: 10us",
        &[
            "error outputPayloadToHeader: \"a b\" is no valid header name",
            "error timeout: must be at least 1ms",
        ],
    );
}
