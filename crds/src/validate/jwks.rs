//! JSON Web Key Sets ([RFC 7517](https://datatracker.ietf.org/doc/html/rfc7517)).

use serde_json::Value;

/// Members that a key must have, by its type.
const MEMBERS: [(&str, &[&str]); 4] = [
    ("RSA", &["n", "e"]),
    ("EC", &["crv", "x", "y"]),
    ("OKP", &["crv", "x"]),
    ("oct", &["k"]),
];

/// A set of keys, or a single key.
pub(super) fn check(text: &str) -> Result<(), String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
    match value.get("keys") {
        None => key(&value),
        Some(Value::Array(keys)) if !keys.is_empty() => {
            let mut checked = keys.iter().enumerate();
            checked.try_for_each(|(index, one)| {
                key(one).map_err(|message| format!("keys[{index}] {message}"))
            })
        }
        Some(_) => Err("keys must be a list with at least one key".to_owned()),
    }
}

fn key(key: &Value) -> Result<(), String> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let Some(kind) = text("kty") else {
        return Err("has no key type kty".to_owned());
    };
    let Some((_, members)) = MEMBERS.iter().find(|(known, _)| *known == kind) else {
        return Err(format!("has the unknown key type {kind:?}"));
    };
    match members
        .iter()
        .find(|name| !text(name).is_some_and(is_base64))
    {
        None => Ok(()),
        Some(name) => Err(format!("of type {kind} must have {name} in base64url")),
    }
}

/// Names of curves are of the same alphabet.
fn is_base64(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !text.is_empty() && text.trim_end_matches('=').bytes().all(allowed)
}
