//! What a proxy needs of a mesh to run alone: an authority that signs, and discovery with given resources.

mod authority;
mod discovery;

use std::net::SocketAddr;
use std::sync::Arc;

use discovery::Discovery;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use ironsail_runtime::signal::Shutdown;
use ironsail_xds::ca::CertificateServer;
use ironsail_xds::discovery::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;

pub use authority::{Authority, Credentials};
pub use discovery::{Named, Resources};

/// Name in the certificate of the stand-in.
pub const NAME: &str = "istiod.istio-system.svc";

/// Listens on a loopback port until dropped.
pub struct Mesh {
    pub address: SocketAddr,
    pub authority: Arc<Authority>,
    shutdown: Shutdown,
}

impl Mesh {
    /// Serves `resources` from a thread of its own.
    pub fn start(resources: impl Resources) -> anyhow::Result<Self> {
        let authority = Arc::new(Authority::new()?);
        let acceptor = TlsAcceptor::from(Arc::new(authority.server(NAME)?));
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shutdown = Shutdown::new();
        let (end, shared) = (shutdown.child(), Arc::clone(&authority));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("mesh".to_owned())
            .spawn(move || {
                let serving = serve(listener, acceptor, shared, Discovery::new(resources));
                if let Some(Err(error)) = runtime.block_on(end.guard(serving)) {
                    eprintln!("the stand-in for the control plane ended: {error:#}");
                }
            })?;
        Ok(Self {
            address,
            authority,
            shutdown,
        })
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

async fn serve(
    listener: std::net::TcpListener,
    acceptor: TlsAcceptor,
    authority: Arc<Authority>,
    discovery: Discovery,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let services = Routes::new(AggregatedDiscoveryServiceServer::new(discovery))
        .add_service(CertificateServer::new(authority));
    let services = TowerToHyperService::new(services);
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, services) = (acceptor.clone(), services.clone());
        tokio::spawn(async move {
            // What fails here is in the log of the client.
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), services)
                    .await;
            }
        });
    }
}
