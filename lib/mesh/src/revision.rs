//! Control-plane revisions.

/// The revision of objects that name none.
pub const DEFAULT: &str = "default";

/// A revision as it is written in names and labels; the default one has an empty suffix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(String);

/// Why a text is no revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a DNS-1123 label")]
pub struct RevisionError {
    pub text: String,
}

impl Revision {
    /// `""` is the default revision; an explicit `default` is a revision of its own, as in the peer.
    ///
    /// # Errors
    /// The text is no DNS-1123 label of at most 63 characters.
    pub fn parse(text: &str) -> Result<Self, RevisionError> {
        let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let valid = bytes.len() <= 63
            && bytes.iter().all(|b| edge(*b) || *b == b'-')
            && bytes.first().is_none_or(|b| edge(*b))
            && bytes.last().is_none_or(|b| edge(*b));
        match valid {
            true => Ok(Self(text.to_owned())),
            false => Err(RevisionError {
                text: text.to_owned(),
            }),
        }
    }

    /// What labels carry: the name, or `default`.
    pub fn label(&self) -> &str {
        match self.0.as_str() {
            "" => DEFAULT,
            name => name,
        }
    }

    /// `base`, or `base-<revision>`.
    pub fn suffixed(&self, base: &str) -> String {
        match self.0.as_str() {
            "" => base.to_owned(),
            name => format!("{base}-{name}"),
        }
    }

    pub fn is_default(&self) -> bool {
        self.0.is_empty()
    }

    /// As given: empty for the default revision.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_suffixes() {
        let default = Revision::parse("").expect("valid");
        assert_eq!(
            (default.label(), default.suffixed("istiod").as_str()),
            ("default", "istiod")
        );
        let canary = Revision::parse("1-32-0").expect("valid");
        assert_eq!(canary.suffixed("istiod"), "istiod-1-32-0");
        for bad in ["A", "-a", "a-", "a.b", &"a".repeat(64)] {
            assert!(Revision::parse(bad).is_err(), "{bad}");
        }
    }
}
