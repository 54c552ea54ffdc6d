//! The bearer token of the workload's service account.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Tokens are a few kilobytes; a file larger than this is none.
const MAX_BYTES: u64 = 64 * 1024;

/// A token; its text shows only in the header it is sent in.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("token file {path} cannot be read: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("token file {path} is empty")]
    Empty { path: PathBuf },
    #[error("token file {path} is larger than {MAX_BYTES} bytes")]
    TooLarge { path: PathBuf },
    #[error("token file {path} holds more than a token")]
    Malformed { path: PathBuf },
}

impl Token {
    /// Reads the file anew: the kubelet replaces it long before the token expires.
    ///
    /// # Errors
    /// The file is missing, unreadable, empty, or holds anything but one word of visible ASCII.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let at = |source| TokenError::Read {
            path: path.to_owned(),
            source,
        };
        if std::fs::metadata(path).map_err(at)?.len() > MAX_BYTES {
            return Err(TokenError::TooLarge {
                path: path.to_owned(),
            });
        }
        let text = std::fs::read_to_string(path).map_err(at)?;
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty {
                path: path.to_owned(),
            });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Malformed {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// Value of the `authorization` header.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_word() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        assert!(matches!(Token::read(&path), Err(TokenError::Read { .. })));
        for (content, readable) in [
            ("abc.def\n", true),
            ("", false),
            (" \n", false),
            ("a b", false),
            ("a\nb", false),
        ] {
            std::fs::write(&path, content).expect("writes");
            let token = Token::read(&path);
            assert_eq!(token.is_ok(), readable, "{content:?}");
            assert!(!format!("{token:?}").contains("abc"));
        }
        std::fs::write(&path, "abc.def\n").expect("writes");
        let token = Token::read(&path).expect("a token");
        assert_eq!(token.bearer(), "Bearer abc.def");
        std::fs::write(&path, "x".repeat(70_000)).expect("writes");
        assert!(matches!(
            Token::read(&path),
            Err(TokenError::TooLarge { .. })
        ));
    }
}
