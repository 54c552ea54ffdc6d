//! Sharing of configuration that many resources repeat: most clusters of a mesh carry the same blocks.

use std::collections::HashMap;
use std::sync::Arc;

use ironsail_runtime::shared;
use ironsail_xds::Any;

use crate::http::HttpConnectionManager;
use crate::resource::listener::TrafficDirection;
use crate::resource::parse::content_hash;
use crate::resource::{CompileError, Switches};
use crate::stats::IstioStats;
use crate::transport_socket::tls::{ClientContext, ServerContext};

/// Compiled blocks by the hash of their encoding, as long as someone uses them; all are compiled for one process.
#[derive(Debug, Default)]
pub struct Interner {
    /// What the user asked of the process, beyond what resources say.
    pub switches: Switches,
    clients: shared::Interner<ClientContext>,
    servers: shared::Interner<ServerContext>,
    managers: shared::Interner<HttpConnectionManager>,
    stats: HashMap<TrafficDirection, shared::Interner<IstioStats>>,
}

impl Interner {
    /// Without blocks.
    pub fn new(switches: Switches) -> Self {
        Self {
            switches,
            ..Self::default()
        }
    }
}

/// Takes the block that was compiled from the same bytes, or compiles it.
fn intern<T>(
    known: &shared::Interner<T>,
    any: &Any,
    compile: impl FnOnce(&Any) -> Result<T, CompileError>,
) -> Result<Arc<T>, CompileError> {
    known.try_get(content_hash(&any.value), || compile(any).map(Arc::new))
}

impl Interner {
    pub fn client_context(
        &mut self,
        any: &Any,
        compile: impl FnOnce(&Any) -> Result<ClientContext, CompileError>,
    ) -> Result<Arc<ClientContext>, CompileError> {
        intern(&self.clients, any, compile)
    }

    pub fn server_context(
        &mut self,
        any: &Any,
        compile: impl FnOnce(&Any) -> Result<ServerContext, CompileError>,
    ) -> Result<Arc<ServerContext>, CompileError> {
        intern(&self.servers, any, compile)
    }

    pub fn connection_manager(
        &mut self,
        any: &Any,
        compile: impl FnOnce(&Any) -> Result<HttpConnectionManager, CompileError>,
    ) -> Result<Arc<HttpConnectionManager>, CompileError> {
        intern(&self.managers, any, compile)
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
        self.clients.sweep();
        self.servers.sweep();
        self.managers.sweep();
        self.stats.values().for_each(shared::Interner::sweep);
    }
}
