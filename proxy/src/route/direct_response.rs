//! Answers from the configuration.

use bytes::Bytes;
use ironsail_xds::{core, route as proto};

use crate::resource::CompileError;

/// Largest body of a direct response when the table says nothing.
pub(super) const DEFAULT_MAX_BODY: usize = 4096;

/// `DirectResponseAction`.
#[derive(Debug)]
pub struct DirectResponse {
    pub status: u16,
    pub body: Bytes,
}

impl DirectResponse {
    /// # Errors
    /// An impossible status, a body that is too large or comes from where this proxy does not read.
    pub fn compile(
        action: &proto::DirectResponseAction,
        max_body: usize,
    ) -> Result<Self, CompileError> {
        use core::data_source::Specifier;
        let status = u16::try_from(action.status)
            .ok()
            .filter(|status| (200..600).contains(status))
            .ok_or_else(|| {
                CompileError::new(format!("{} is not a final status", action.status)).at("status")
            })?;
        if action.body_format.is_some() {
            return Err(CompileError::new("is not supported").at("body_format"));
        }
        let source = action
            .body
            .as_ref()
            .and_then(|body| body.specifier.as_ref());
        let body = match source {
            Some(Specifier::InlineString(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Some(Specifier::InlineBytes(bytes)) => Bytes::copy_from_slice(bytes),
            Some(Specifier::EnvironmentVariable(name)) => {
                let value = std::env::var(name);
                value.map(Bytes::from).map_err(|_| {
                    CompileError::new(format!("{name} is not set")).at("body.environment_variable")
                })?
            }
            Some(Specifier::Filename(path)) => {
                std::fs::read(path).map(Bytes::from).map_err(|error| {
                    CompileError::new(format!("{path}: {error}")).at("body.filename")
                })?
            }
            None => Bytes::new(),
        };
        if body.len() > max_body {
            return Err(CompileError::new(format!(
                "{} bytes exceed the limit of {max_body}",
                body.len()
            ))
            .at("body"));
        }
        Ok(Self { status, body })
    }
}
