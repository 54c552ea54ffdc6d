//! Compiled route configurations.

use ironsail_xds::route as proto;

use crate::resource::CompileError;

/// Compiled `RouteConfiguration`.
#[derive(Debug)]
pub struct RouteTable {
    pub name: String,
}

impl RouteTable {
    /// # Errors
    /// Invalid values.
    pub fn compile(config: &proto::RouteConfiguration) -> Result<Self, CompileError> {
        Ok(Self {
            name: config.name.clone(),
        })
    }
}
