//! Exit codes that scripts rely on, as in the peer.

use std::fmt::Write as _;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Ok = 0,
    /// Something went wrong that is none of the others.
    Failure = 1,
    /// `plan`: applying would change something.
    Differs = 2,
    /// The command line is wrong.
    Usage = 64,
    /// A file can't be understood.
    Data = 65,
}

/// An error whose exit code is not [`Code::Failure`].
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Coded {
    pub code: Code,
    pub text: String,
}

/// The command line is wrong.
pub fn usage(text: impl Into<String>) -> anyhow::Error {
    let text = text.into();
    Coded {
        code: Code::Usage,
        text,
    }
    .into()
}

/// A file can't be understood.
pub fn data(text: impl Into<String>) -> anyhow::Error {
    let text = text.into();
    Coded {
        code: Code::Data,
        text,
    }
    .into()
}

/// What the program ends with for an error.
pub fn code(error: &anyhow::Error) -> Code {
    let coded = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Coded>());
    coded.map_or(Code::Failure, |coded| coded.code)
}

/// The error and its causes; a cause that its parent already quotes is not repeated.
pub fn text(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            // Writing to a String can't fail.
            let _ = write!(text, ": {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn codes_survive_context() {
        let error = Err::<(), _>(data("no YAML"))
            .context("a.yaml")
            .expect_err("an error");
        assert_eq!(code(&error), Code::Data);
        assert_eq!(text(&error), "a.yaml: no YAML");
        assert_eq!(code(&anyhow::anyhow!("x")), Code::Failure);
    }
}
