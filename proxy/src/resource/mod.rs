//! Compiled configuration: what xDS messages become once, before any connection sees them.
//!
//! Types here are immutable and shared between workers by `Arc`; the messages they come from are dropped after compiling.

pub mod cluster;
pub mod endpoint;
pub mod intern;
pub mod listener;
pub mod parse;
mod switches;
pub mod tls;
pub mod transport_socket;

use std::fmt;

pub use switches::Switches;

/// Why a resource, or a part of it, cannot be used: the field and what is wrong with it.
///
/// The text of a rejection: `filter_chains[1].filters[0]: unknown network filter "x"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// Field path below the resource; empty for the resource itself.
    pub path: String,
    pub message: String,
}

impl CompileError {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            message: message.into(),
        }
    }

    /// An extension that is required and that this proxy does not have.
    pub fn unknown_extension(kind: &str, name: &str, type_url: &str) -> Self {
        Self::new(format!(
            "unknown {kind} {name:?} of type {:?}",
            ironsail_xds::type_name(type_url)
        ))
    }

    /// The same error, one level further out: `error.at("filters[0]").at("filter_chains[1]")`.
    #[must_use]
    pub fn at(mut self, field: impl fmt::Display) -> Self {
        self.path = if self.path.is_empty() {
            field.to_string()
        } else {
            format!("{field}.{}", self.path)
        };
        self
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for CompileError {}

impl From<ironsail_xds::UnpackError> for CompileError {
    fn from(error: ironsail_xds::UnpackError) -> Self {
        Self::new(error.to_string())
    }
}

/// Adds the field to errors on their way out: `compile(x).at("route_config")?`.
pub trait At<T> {
    /// # Errors
    /// The error of `self`, with the field in front of its path.
    fn at(self, field: impl fmt::Display) -> Result<T, CompileError>;
}

impl<T, E: Into<CompileError>> At<T> for Result<T, E> {
    fn at(self, field: impl fmt::Display) -> Result<T, CompileError> {
        self.map_err(|error| error.into().at(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_grow_outwards() {
        let error = CompileError::new("bad")
            .at("filters[0]")
            .at("filter_chains[1]");
        assert_eq!(error.to_string(), "filter_chains[1].filters[0]: bad");
    }
}
