//! The workload's certificate in files, for programs that read them: `OUTPUT_CERTS`.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::{Credential, Credentials};

/// Names of the files, as the peer writes them.
pub const CHAIN: &str = "cert-chain.pem";
pub const KEY: &str = "key.pem";
pub const ROOTS: &str = "root-cert.pem";

const PUBLIC: u32 = 0o644;
/// Readable for the group, which pods share by `fsGroup`.
const PRIVATE: u32 = 0o640;

/// Writes every credential into `directory`. Ends with the agent.
pub async fn write_all(directory: PathBuf, mut credential: Credentials) {
    loop {
        let current = credential.borrow_and_update().clone();
        if let Some(current) = current {
            match write(&directory, &current) {
                Ok(()) => info!(directory = %directory.display(), "Certificate written"),
                Err(error) => {
                    warn!(%error, directory = %directory.display(), "Certificate cannot be written");
                }
            }
        }
        if credential.changed().await.is_err() {
            return;
        }
    }
}

fn write(directory: &Path, credential: &Credential) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    replace(&directory.join(ROOTS), credential.roots_pem(), PUBLIC)?;
    replace(&directory.join(KEY), credential.key_pem(), PRIVATE)?;
    // Last: who waits for the chain finds the rest.
    replace(&directory.join(CHAIN), credential.chain_pem(), PUBLIC)
}

/// Readers see the old text or the new one. Nobody else can read the new one before it has its mode.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_mode() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(KEY);
        for text in ["first", "second"] {
            replace(&path, text, PRIVATE).expect("writes");
            assert_eq!(fs::read_to_string(&path).expect("reads"), text);
        }
        let mode = fs::metadata(&path).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, PRIVATE);
        assert_eq!(fs::read_dir(directory.path()).expect("lists").count(), 1);
    }
}
