//! Container images from static binaries: one layer, no base, the same bytes for the same input.
//!
//! The archive has the form of `docker save` (<https://github.com/moby/docker-image-spec>), which containerd imports
//! and registry tools push.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::json;
use sha2::{Digest, Sha256};

/// User and group of the mesh's programs.
const PROXY_UID: u32 = 1337;

/// User and group of applications: traffic of the proxy's own user is not captured.
const APP_UID: u32 = 1000;

const PASSWD: &str = "root:x:0:0::/:/\napp:x:1000:1000::/:/\nistio-proxy:x:1337:1337::/:/\n";
const GROUP: &str = "root:x:0:\napp:x:1000:\nistio-proxy:x:1337:\n";

/// Where binaries are found by name in pods.
const BIN: &str = "usr/local/bin";

/// Certificates of public authorities on the machine that builds.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// One image.
pub struct Image {
    /// Last part of the image's name: `pilot`.
    pub name: &'static str,
    pub binary: &'static str,
    /// Other names of the binary, as links.
    pub links: &'static [&'static str],
    pub entrypoint: &'static [&'static str],
    pub command: &'static [&'static str],
    /// User and group.
    pub uid: u32,
}

/// All images: names, entry points and links are the peer's where it has them.
pub const IMAGES: &[Image] = &[
    Image {
        name: "operator",
        binary: "operator",
        links: &[],
        entrypoint: &["/usr/local/bin/operator"],
        command: &["server"],
        uid: PROXY_UID,
    },
    Image {
        name: "pilot",
        binary: "pilot-discovery",
        links: &[],
        entrypoint: &["/usr/local/bin/pilot-discovery"],
        command: &[],
        uid: PROXY_UID,
    },
    Image {
        name: "proxyv2",
        binary: "pilot-agent",
        links: &["istio-iptables", "istio-clean-iptables"],
        entrypoint: &["/usr/local/bin/pilot-agent"],
        command: &[],
        uid: PROXY_UID,
    },
    Image {
        name: "apps",
        binary: "apps",
        links: &[],
        entrypoint: &["/usr/local/bin/apps"],
        command: &["echo"],
        uid: APP_UID,
    },
];

impl Image {
    /// Full reference: `<hub>/<name>:<tag>`.
    pub fn reference(&self, hub: &str, tag: &str) -> String {
        format!("{}/{}:{tag}", hub.trim_end_matches('/'), self.name)
    }

    /// Writes the archive `<name>.tar` into `out`; `from` holds the binaries.
    ///
    /// # Errors
    /// A binary is missing, or the archive can't be written.
    pub fn write(&self, from: &Path, out: &Path, reference: &str) -> anyhow::Result<PathBuf> {
        let layer = self.layer(from)?;
        let digest = hex(&Sha256::digest(&layer));
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Cmd": self.command,
                "Env": [format!("PATH=/{BIN}")],
                "User": format!("{uid}:{uid}", uid = self.uid),
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
            "history": [{"created_by": "ironsail images"}],
        })
        .to_string();
        let config_name = format!("{}.json", hex(&Sha256::digest(config.as_bytes())));
        let layer_name = format!("{digest}.tar");
        let manifest = json!([{
            "Config": config_name,
            "RepoTags": [reference],
            "Layers": [layer_name],
        }])
        .to_string();

        let path = out.join(format!("{}.tar", self.name));
        let temporary = path.with_extension("tar.part");
        let mut archive = Archive::new(io::BufWriter::new(fs::File::create(&temporary)?));
        archive.file(&config_name, 0o644, config.as_bytes())?;
        archive.file(&layer_name, 0o644, &layer)?;
        archive.file("manifest.json", 0o644, manifest.as_bytes())?;
        archive.finish()?;
        fs::rename(&temporary, &path)?;
        Ok(path)
    }

    /// SHA-256 of the program.
    ///
    /// # Errors
    /// It is not built.
    pub fn digest(&self, from: &Path) -> anyhow::Result<String> {
        Ok(hex(&Sha256::digest(self.program(from)?)))
    }

    fn program(&self, from: &Path) -> anyhow::Result<Vec<u8>> {
        let binary = from.join(self.binary);
        fs::read(&binary).with_context(|| format!("{} is not built", binary.display()))
    }

    fn layer(&self, from: &Path) -> anyhow::Result<Vec<u8>> {
        let content = self.program(from)?;
        let mut archive = Archive::new(Vec::new());
        for directory in [
            "etc/",
            "etc/ssl/",
            "etc/ssl/certs/",
            "tmp/",
            "usr/",
            "usr/local/",
            "usr/local/bin/",
        ] {
            archive.directory(directory)?;
        }
        archive.file("etc/group", 0o644, GROUP.as_bytes())?;
        archive.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
        if let Ok(bundle) = fs::read(CA_BUNDLE) {
            archive.file(CA_BUNDLE.trim_start_matches('/'), 0o644, &bundle)?;
        }
        archive.file(&format!("{BIN}/{}", self.binary), 0o755, &content)?;
        for link in self.links {
            archive.link(&format!("{BIN}/{link}"), self.binary)?;
        }
        archive.finish()
    }
}

/// A tar archive whose entries carry no time and no owner's name.
struct Archive<W: Write> {
    tar: tar::Builder<W>,
}

impl<W: Write> Archive<W> {
    fn new(writer: W) -> Self {
        Self {
            tar: tar::Builder::new(writer),
        }
    }

    fn header(kind: tar::EntryType, mode: u32, size: usize) -> anyhow::Result<tar::Header> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(u64::try_from(size)?);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        Ok(header)
    }

    fn directory(&mut self, path: &str) -> anyhow::Result<()> {
        // /tmp must be writable for everybody, as everywhere.
        let mode = if path == "tmp/" { 0o1777 } else { 0o755 };
        let mut header = Self::header(tar::EntryType::Directory, mode, 0)?;
        self.tar.append_data(&mut header, path, io::empty())?;
        Ok(())
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        let mut header = Self::header(tar::EntryType::Regular, mode, content.len())?;
        self.tar.append_data(&mut header, path, content)?;
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str) -> anyhow::Result<()> {
        let mut header = Self::header(tar::EntryType::Symlink, 0o777, 0)?;
        self.tar.append_link(&mut header, path, target)?;
        Ok(())
    }

    fn finish(self) -> anyhow::Result<W> {
        Ok(self.tar.into_inner()?)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of another time, mode and place are the same input.
    #[test]
    fn the_same_input_gives_the_same_bytes() {
        use std::os::unix::fs::PermissionsExt;
        let image = &IMAGES[2];
        let write = |mode: u32, modified: u64| {
            let from = tempfile::tempdir().expect("a directory");
            let binary = from.path().join(image.binary);
            fs::write(&binary, b"binary").expect("written");
            let file = fs::File::open(&binary).expect("readable");
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(modified);
            file.set_modified(time).expect("set");
            fs::set_permissions(&binary, fs::Permissions::from_mode(mode)).expect("set");
            let out = tempfile::tempdir().expect("a directory");
            let path = image
                .write(from.path(), out.path(), &image.reference("hub/", "1"))
                .expect("an archive");
            fs::read(path).expect("readable")
        };
        assert_eq!(write(0o700, 1), write(0o644, 1_000_000));
    }

    #[test]
    fn a_missing_binary_is_named() {
        let from = tempfile::tempdir().expect("a directory");
        let error = IMAGES[0]
            .write(from.path(), from.path(), "x")
            .expect_err("nothing was built");
        assert!(error.to_string().contains("operator"), "{error}");
    }
}
