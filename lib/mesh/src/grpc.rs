//! Status codes of gRPC, <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>.

/// By number.
const STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Number of a status by its name, such as `UNAVAILABLE`; `None` if there is none.
pub fn status_code(name: &str) -> Option<u32> {
    let position = STATUS.iter().position(|known| *known == name)?;
    u32::try_from(position).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_numbers() {
        assert_eq!(status_code("OK"), Some(0));
        assert_eq!(status_code("UNAVAILABLE"), Some(14));
        assert_eq!(status_code("UNAUTHENTICATED"), Some(16));
        assert_eq!(status_code("unavailable"), None);
    }
}
