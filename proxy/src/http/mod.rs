//! HTTP: codecs, the connection manager, its filters, upstream pools.

pub mod codec;
pub mod filter;
pub mod grpc;
pub mod header_block;
pub mod header_name;
pub mod message;

use std::rc::Rc;
use std::sync::Arc;

use ironsail_xds::ext::filters::network::http_connection_manager::v3 as proto;

use crate::conn::Connection;
use crate::resource::CompileError;
use crate::worker::Worker;

/// Compiled `HttpConnectionManager`.
#[derive(Debug)]
pub struct HttpConnectionManager {
    rds: Option<Arc<str>>,
}

impl HttpConnectionManager {
    /// # Errors
    /// Unknown required extensions, invalid values.
    pub fn compile(config: &proto::HttpConnectionManager) -> Result<Self, CompileError> {
        use proto::http_connection_manager::RouteSpecifier;
        let rds = match &config.route_specifier {
            Some(RouteSpecifier::Rds(rds)) => Some(rds.route_config_name.as_str().into()),
            _ => None,
        };
        Ok(Self { rds })
    }

    /// Name of the route configuration to subscribe to; `None` with an inline one.
    pub fn rds_name(&self) -> Option<&Arc<str>> {
        self.rds.as_ref()
    }
}

/// Serves a connection until it ends. Dropping the future ends the connection.
pub async fn serve(connection: Connection, _hcm: Arc<HttpConnectionManager>, _worker: Rc<Worker>) {
    drop(connection);
}
