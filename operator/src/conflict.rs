//! Requests that are refused because somebody else wrote the object meanwhile.

/// How often something is tried while others write the same object.
const TRIES: usize = 4;

/// Whether a request was refused because the object had changed since it was read.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(answer) if answer.code == 409)
}

/// Does something that begins with reading an object, and does it again while the object changes
/// before it is done.
///
/// # Errors
/// Those of the attempt; a conflict, if every attempt ended with one.
pub async fn retry<T>(
    mut attempt: impl AsyncFnMut() -> Result<T, kube::Error>,
) -> Result<T, kube::Error> {
    let mut outcome = attempt().await;
    for _ in 1..TRIES {
        match outcome {
            Err(error) if is_conflict(&error) => outcome = attempt().await,
            settled => return settled,
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refusal(code: u16) -> kube::Error {
        let status = Status::failure("refused", "Refused").with_code(code);
        kube::Error::Api(status.boxed())
    }

    /// How often an attempt is made that ends with these codes, 0 for success, and how it ends.
    async fn tries(codes: &[u16]) -> (usize, bool) {
        let mut count = 0;
        let outcome = retry(async || {
            count += 1;
            match codes[count - 1] {
                0 => Ok(()),
                code => Err(refusal(code)),
            }
        });
        let is_ok = outcome.await.is_ok();
        (count, is_ok)
    }

    #[tokio::test]
    async fn conflicts_are_tried_again_and_nothing_else() {
        assert_eq!(tries(&[0]).await, (1, true));
        assert_eq!(tries(&[409, 409, 0]).await, (3, true));
        assert_eq!(tries(&[409, 403, 0]).await, (2, false));
        assert_eq!(tries(&[409; 9]).await, (TRIES, false));
    }
}
