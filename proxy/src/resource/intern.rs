//! Sharing of configuration that many resources repeat: most clusters of a mesh carry the same blocks.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use ironsail_xds::Any;

use crate::http::HttpConnectionManager;
use crate::resource::CompileError;
use crate::resource::listener::TrafficDirection;
use crate::resource::parse::content_hash;
use crate::stats::IstioStats;
use crate::transport_socket::tls::{ClientContext, ServerContext};

/// Compiled blocks by the hash of their encoding, as long as someone uses them.
#[derive(Debug, Default)]
pub struct Interner {
    clients: Table<ClientContext>,
    servers: Table<ServerContext>,
    managers: Table<HttpConnectionManager>,
    stats: HashMap<TrafficDirection, Table<IstioStats>>,
}

type Table<T> = HashMap<u128, Weak<T>>;

/// Takes the block that was compiled from the same bytes, or compiles it.
fn intern<T>(
    table: &mut Table<T>,
    any: &Any,
    compile: impl FnOnce(&Any) -> Result<T, CompileError>,
) -> Result<Arc<T>, CompileError> {
    let hash = content_hash(&any.value);
    if let Some(known) = table.get(&hash).and_then(Weak::upgrade) {
        return Ok(known);
    }
    let compiled = Arc::new(compile(any)?);
    table.insert(hash, Arc::downgrade(&compiled));
    Ok(compiled)
}

impl Interner {
    pub fn client_context(
        &mut self,
        any: &Any,
        compile: impl FnOnce(&Any) -> Result<ClientContext, CompileError>,
    ) -> Result<Arc<ClientContext>, CompileError> {
        intern(&mut self.clients, any, compile)
    }

    pub fn server_context(
        &mut self,
        any: &Any,
        compile: impl FnOnce(&Any) -> Result<ServerContext, CompileError>,
    ) -> Result<Arc<ServerContext>, CompileError> {
        intern(&mut self.servers, any, compile)
    }

    pub fn connection_manager(
        &mut self,
        any: &Any,
        compile: impl FnOnce(&Any) -> Result<HttpConnectionManager, CompileError>,
    ) -> Result<Arc<HttpConnectionManager>, CompileError> {
        intern(&mut self.managers, any, compile)
    }

    pub fn stats(
        &mut self,
        direction: TrafficDirection,
        any: &Any,
        compile: impl FnOnce(&Any) -> Result<IstioStats, CompileError>,
    ) -> Result<Arc<IstioStats>, CompileError> {
        intern(self.stats.entry(direction).or_default(), any, compile)
    }

    /// Forgets blocks that nobody uses any more.
    pub fn sweep(&mut self) {
        self.clients.retain(|_, block| block.strong_count() > 0);
        self.servers.retain(|_, block| block.strong_count() > 0);
        self.managers.retain(|_, block| block.strong_count() > 0);
        for table in self.stats.values_mut() {
            table.retain(|_, block| block.strong_count() > 0);
        }
    }
}
