//! Unix sockets of the agent.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Everybody who can reach the folder: programs of the pod may run as other users.
const MODE: u32 = 0o666;

/// Why a socket is not there.
#[derive(Debug, thiserror::Error)]
#[error("socket {path} cannot be listened on: {source}")]
pub struct SocketError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Listens on `path`; folders are made, and what a process that is gone left there is replaced.
///
/// # Errors
/// The folder cannot be written.
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    listen(path).map_err(|source| SocketError {
        path: path.to_owned(),
        source,
    })
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    Ok(listener)
}
