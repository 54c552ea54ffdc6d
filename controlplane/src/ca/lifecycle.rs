//! Where the root comes from, and how it is kept.
//!
//! Order: files mounted at `/etc/cacerts`, Secret `cacerts`, Secret `istio-ca-secret`; only when none exists a root
//! is made. What exists and cannot be used is reported and nothing is signed: a second root would split the mesh.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ironsail_runtime::log::chain;
use ironsail_runtime::retry::{self, BackoffConfig};
use ironsail_runtime::signal::Shutdown;
use time::OffsetDateTime;
use tracing::{error, info, warn};

use crate::ca::authority::{Authority, AuthorityError, contains_roots};
use crate::ca::handle::{CaHandle, CaState};
use crate::ca::material::{Material, MaterialError, PLUGGED_SECRET, SELF_SIGNED_SECRET};
use crate::ca::metrics::CaMetrics;
use crate::ca::root::{self, RootError};
use crate::ca::secret::{SecretStore, StoreError};

/// Type of the Secret of a self-signed root.
const SECRET_TYPE: &str = "istio.io/ca-root";
/// Time between looks at files and Secrets.
const INTERVAL: Duration = Duration::from_secs(60);
/// Files of a mounted authority are small; more is no authority.
const MAX_FILE: u64 = 1 << 20;
/// Rounds of reading after another replica was faster.
const RACES: usize = 5;

/// Where an authority was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    MountedFiles,
    PluggedSecret,
    SelfSigned,
}

/// Key and certificates with their source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub source: Source,
    pub material: Material,
}

/// Why no authority could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("mounted file {path} cannot be read")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{place} is no authority: {source}")]
    Material {
        place: &'static str,
        #[source]
        source: MaterialError,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("root certificate cannot be made")]
    Root(#[from] RootError),
    #[error("Secret {SELF_SIGNED_SECRET} keeps changing")]
    Race,
}

impl LoadError {
    /// Whether trying again may help without anybody's doing.
    fn is_transient(&self) -> bool {
        matches!(self, LoadError::Store(_) | LoadError::Race)
    }
}

/// Keeps one authority loaded.
pub struct Lifecycle<S> {
    pub store: S,
    /// Folder of plugged files, usually `/etc/cacerts`.
    pub folder: PathBuf,
    /// Organization of a new root: the trust domain.
    pub organization: String,
    /// Validity of new roots.
    pub root_lifetime: time::Duration,
    pub handle: CaHandle,
    pub metrics: CaMetrics,
}

impl<S: SecretStore> Lifecycle<S> {
    /// Loads an authority, then keeps looking; returns when `shutdown` is triggered.
    pub async fn run(self, shutdown: Shutdown) {
        let config = BackoffConfig {
            max: Duration::from_secs(30),
            ..BackoffConfig::default()
        };
        let first = retry::forever(config, "load the certificate authority", || self.start());
        let Some(mut current) = shutdown.guard(first).await else {
            return;
        };
        while shutdown.guard(tokio::time::sleep(INTERVAL)).await.is_some() {
            current = self.look(current).await;
        }
    }

    /// The first load: what cannot be used by our own doing is retried, the rest is refused until somebody repairs it.
    async fn start(&self) -> Result<Option<Loaded>, LoadError> {
        let loaded = match self.load(OffsetDateTime::now_utc()).await {
            Ok(loaded) => loaded,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                self.refuse(&error);
                return Ok(None);
            }
        };
        match self.adopt(&loaded) {
            Ok(()) => {
                info!(source = ?loaded.source, "Loaded the certificate authority");
                Ok(Some(loaded))
            }
            Err(error) => {
                self.refuse(&error);
                Ok(None)
            }
        }
    }

    /// Looks for changes; what cannot be used changes nothing.
    async fn look(&self, current: Option<Loaded>) -> Option<Loaded> {
        let now = OffsetDateTime::now_utc();
        let Some(current) = current else {
            return self.start().await.ok().flatten();
        };
        let next = match self.refresh(&current, now).await {
            Ok(next) => next,
            Err(error) => {
                warn!(error = %chain(&error), "Certificate authority cannot be looked up, keeping the one in use");
                current.clone()
            }
        };
        self.update_expiry();
        if next == current {
            return Some(current);
        }
        if let Err(error) = self.check_successor(&current, &next) {
            error!(%error, "Changed certificate authority is not used");
            return Some(current);
        }
        match self.adopt(&next) {
            Ok(()) => {
                info!(source = ?next.source, "Certificate authority changed");
                Some(next)
            }
            Err(error) => {
                error!(error = %chain(&error), "Changed certificate authority cannot be used");
                Some(current)
            }
        }
    }

    /// What is stored now; a self-signed root that vanished is put back, and renewed when it is due.
    async fn refresh(&self, current: &Loaded, now: OffsetDateTime) -> Result<Loaded, LoadError> {
        if current.source == Source::SelfSigned && self.plugged().await?.is_none() {
            return self.self_signed(Some(&current.material), now).await;
        }
        self.load(now).await
    }

    /// Finds or makes the authority.
    ///
    /// # Errors
    /// Something is there and cannot be read, or the API server does not answer.
    pub async fn load(&self, now: OffsetDateTime) -> Result<Loaded, LoadError> {
        match self.plugged().await? {
            Some(loaded) => Ok(loaded),
            None => self.self_signed(None, now).await,
        }
    }

    async fn plugged(&self) -> Result<Option<Loaded>, LoadError> {
        let files = self.read_folder().await?;
        if !files.is_empty() {
            let material = Material::read(&files).map_err(|source| LoadError::Material {
                place: "folder of plugged certificates",
                source,
            })?;
            return Ok(Some(Loaded {
                source: Source::MountedFiles,
                material,
            }));
        }
        // The Secret may be younger than this pod's mounts.
        let Some(secret) = self.store.get(PLUGGED_SECRET).await? else {
            return Ok(None);
        };
        let material = Material::read(&secret.data).map_err(|source| LoadError::Material {
            place: "Secret cacerts",
            source,
        })?;
        Ok(Some(Loaded {
            source: Source::PluggedSecret,
            material,
        }))
    }

    /// The stored root, or `known`, or a new one; renewed when due.
    async fn self_signed(
        &self,
        known: Option<&Material>,
        now: OffsetDateTime,
    ) -> Result<Loaded, LoadError> {
        for _ in 0..RACES {
            let Some(secret) = self.store.get(SELF_SIGNED_SECRET).await? else {
                let material = match known {
                    Some(material) => material.clone(),
                    None => root::create(&self.organization, self.root_lifetime, now)?,
                };
                let data = material.to_data();
                if self
                    .store
                    .create(SELF_SIGNED_SECRET, SECRET_TYPE, data)
                    .await?
                {
                    info!(object = SELF_SIGNED_SECRET, "Stored a root certificate");
                    return Ok(self_signed(material));
                }
                continue;
            };
            let mut material =
                Material::read(&secret.data).map_err(|source| LoadError::Material {
                    place: "Secret istio-ca-secret",
                    source,
                })?;
            // Other control planes leave the root empty or stale; the certificate is the root.
            material.roots = material.certificate.clone();
            if !root::is_due(&material.certificate, now)? {
                return Ok(self_signed(material));
            }
            let renewed = root::renew(&material, self.root_lifetime, now)?;
            let data = renewed.to_data();
            if self
                .store
                .replace(SELF_SIGNED_SECRET, &secret.version, data)
                .await?
            {
                info!(object = SELF_SIGNED_SECRET, "Renewed the root certificate");
                return Ok(self_signed(renewed));
            }
        }
        Err(LoadError::Race)
    }

    async fn read_folder(&self) -> Result<BTreeMap<String, Vec<u8>>, LoadError> {
        let failed = |path: PathBuf| move |source| LoadError::File { path, source };
        let mut entries = match tokio::fs::read_dir(&self.folder).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(BTreeMap::new());
            }
            Err(error) => return Err(failed(self.folder.clone())(error)),
        };
        let mut files = BTreeMap::new();
        while let Some(entry) = entries
            .next_entry()
            .await
            .map_err(failed(self.folder.clone()))?
        {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            // Volumes of Secrets keep their versions in hidden folders.
            if name.starts_with('.') {
                continue;
            }
            let metadata = tokio::fs::metadata(&path)
                .await
                .map_err(failed(path.clone()))?;
            if metadata.is_file() && metadata.len() <= MAX_FILE {
                let bytes = tokio::fs::read(&path).await.map_err(failed(path))?;
                files.insert(name, bytes);
            }
        }
        Ok(files)
    }

    /// A plugged authority must keep the roots that workloads trust now.
    fn check_successor(&self, current: &Loaded, next: &Loaded) -> Result<(), &'static str> {
        if next.source == Source::SelfSigned && current.source == Source::SelfSigned {
            return Ok(());
        }
        let parse = |material: &Material| {
            ironsail_runtime::tls::certificates(material.roots.as_bytes()).unwrap_or_default()
        };
        let (old, new) = (parse(&current.material), parse(&next.material));
        match contains_roots(&new, &old) {
            true => Ok(()),
            false => Err("its roots do not contain the root in use; add it to root-cert.pem"),
        }
    }

    fn adopt(&self, loaded: &Loaded) -> Result<(), AuthorityError> {
        let authority = Authority::new(&loaded.material, OffsetDateTime::now_utc())?;
        self.handle.set(CaState::Ready(Arc::new(authority)));
        self.update_expiry();
        Ok(())
    }

    fn refuse(&self, error: &(dyn std::error::Error + 'static)) {
        let text = chain(error);
        error!(error = %text, "No usable certificate authority, certificates are not signed");
        self.handle.set(CaState::Refusing(text.into()));
    }

    fn update_expiry(&self) {
        if let Some(authority) = self.handle.authority() {
            let roots = authority.roots();
            let root = roots.iter().filter_map(not_after).min();
            let chain = authority.not_after().unix_timestamp();
            self.metrics.set_expiry(root.unwrap_or(chain), chain);
        }
    }
}

fn self_signed(material: Material) -> Loaded {
    Loaded {
        source: Source::SelfSigned,
        material,
    }
}

fn not_after(certificate: &rustls_pki_types::CertificateDer<'static>) -> Option<i64> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests;
