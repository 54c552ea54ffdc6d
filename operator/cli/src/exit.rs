//! Exit codes that scripts rely on, as in the peer.

use std::error::Error;
use std::fmt::Write as _;

use ironsail_operator::apply::reason;

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
    let mut text = String::new();
    for cause in error.chain() {
        let answer = answer(cause);
        // What an answer of the API server consists of is no further cause.
        let is_last = answer.is_some();
        let cause = answer.unwrap_or_else(|| cause.to_string());
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            // Writing to a String can't fail.
            let _ = write!(text, ": {cause}");
        }
        if is_last {
            break;
        }
    }
    text
}

/// What the API server answered, if the cause is that.
fn answer(cause: &(dyn Error + 'static)) -> Option<String> {
    let boxed = || cause.downcast_ref::<Box<kube::Error>>().map(Box::as_ref);
    let error = cause.downcast_ref::<kube::Error>().or_else(boxed)?;
    matches!(error, kube::Error::Api(_)).then(|| reason(error))
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

    #[test]
    fn an_answer_of_the_api_server_is_said_once() {
        let answer = || {
            let status = kube::core::Status::failure("roles are forbidden", "Forbidden");
            kube::Error::Api(Box::new(status.with_code(403)))
        };
        #[derive(Debug, thiserror::Error)]
        #[error("Role a: {}", reason(source))]
        struct Refused {
            source: Box<kube::Error>,
        }
        let refused = Refused {
            source: Box::new(answer()),
        };
        assert_eq!(text(&refused.into()), "Role a: roles are forbidden");
        assert_eq!(text(&answer().into()), "roles are forbidden");
        let error = Err::<(), _>(answer()).context("a").expect_err("an error");
        assert_eq!(text(&error), "a: roles are forbidden");
    }
}
