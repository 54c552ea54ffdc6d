//! SPIFFE identities of workloads: <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>.

use std::fmt;
use std::str::FromStr;

/// Trust domain used when the mesh configuration names none.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

const SCHEME: &str = "spiffe://";

/// A workload identity, `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    pub trust_domain: String,
    pub namespace: String,
    pub service_account: String,
}

/// Why a text is no workload identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
pub struct IdentityError {
    pub text: String,
}

impl Identity {
    pub fn new(
        trust_domain: impl Into<String>,
        namespace: impl Into<String>,
        service_account: impl Into<String>,
    ) -> Self {
        Self {
            trust_domain: trust_domain.into(),
            namespace: namespace.into(),
            service_account: service_account.into(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SCHEME}{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || IdentityError {
            text: text.to_owned(),
        };
        let rest = text.strip_prefix(SCHEME).ok_or_else(error)?;
        let mut parts = rest.split('/');
        match (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            (
                Some(trust_domain),
                Some("ns"),
                Some(namespace),
                Some("sa"),
                Some(service_account),
                None,
            ) if !trust_domain.is_empty()
                && !namespace.is_empty()
                && !service_account.is_empty() =>
            {
                Ok(Self::new(trust_domain, namespace, service_account))
            }
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_display_are_inverse() {
        let text = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews";
        let identity: Identity = text.parse().expect("a valid identity");
        assert_eq!(identity.namespace, "default");
        assert_eq!(identity.to_string(), text);
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "spiffe://",
            "spiffe://td/ns//sa/x",
            "spiffe://td/ns/a/sa/b/c",
            "https://td/ns/a/sa/b",
            "spiffe://td/sa/b/ns/a",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
    }
}
