//! The bootstrap file of gRPC libraries that speak xDS.
//! <https://github.com/grpc/proposal/blob/master/A27-xds-global-load-balancing.md#xdsclient-and-bootstrap-file>

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::files;
use crate::bootstrap::Bootstrap;

/// How often the library reads certificates anew.
const REFRESH: &str = "900s";
/// Name of the certificate provider, which clusters and listeners refer to.
const PROVIDER: &str = "default";
/// Names of listeners of servers; `%s` is the address that the server listens on.
const LISTENER: &str = "xds.istio.io/grpc/lds/inbound/%s";
/// Node metadata by which the control plane knows a gRPC library.
const GENERATOR: &str = "grpc";

/// Writes the file.
///
/// # Errors
/// It cannot be written.
pub fn write(
    path: &Path,
    bootstrap: &Bootstrap,
    socket: &Path,
    certificates: Option<&Path>,
) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let socket = std::path::absolute(socket)?;
    let certificates = certificates.map(std::path::absolute).transpose()?;
    let document = document(bootstrap, &socket, certificates.as_deref());
    files::replace(path, &format!("{document:#}\n"), 0o644)
}

fn document(bootstrap: &Bootstrap, socket: &Path, certificates: Option<&Path>) -> Value {
    let mut metadata = bootstrap.metadata.clone();
    metadata.insert("GENERATOR".to_owned(), GENERATOR.into());
    let providers = match certificates {
        None => json!({}),
        Some(folder) => json!({PROVIDER: {
            "plugin_name": "file_watcher",
            "config": {
                "certificate_file": folder.join(files::CHAIN),
                "private_key_file": folder.join(files::KEY),
                "ca_certificate_file": folder.join(files::ROOTS),
                "refresh_interval": REFRESH,
            },
        }}),
    };
    json!({
        "xds_servers": [{
            "server_uri": format!("unix://{}", socket.display()),
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }],
        "node": {
            "id": bootstrap.node.to_string(),
            "cluster": bootstrap.service_cluster,
            "metadata": metadata,
        },
        "certificate_providers": providers,
        "server_listener_resource_name_template": LISTENER,
    })
}
