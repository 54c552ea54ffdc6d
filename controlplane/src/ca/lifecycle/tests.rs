use super::*;
use crate::ca::secret::StoredSecret;
use std::sync::Mutex;

/// Secrets in memory, shared by replicas.
#[derive(Clone, Default)]
struct Memory {
    secrets: Arc<Mutex<BTreeMap<String, StoredSecret>>>,
    /// Put there at the moment of the next creation, as if another replica had been faster.
    rival: Arc<Mutex<Option<BTreeMap<String, Vec<u8>>>>>,
}

impl Memory {
    fn put(&self, name: &str, data: BTreeMap<String, Vec<u8>>) {
        let mut secrets = self.secrets.lock().expect("not poisoned");
        let version = (secrets.len() + 1).to_string();
        secrets.insert(name.to_owned(), StoredSecret { version, data });
    }

    fn names(&self) -> Vec<String> {
        self.secrets
            .lock()
            .expect("not poisoned")
            .keys()
            .cloned()
            .collect()
    }
}

impl SecretStore for Memory {
    async fn get(&self, name: &str) -> Result<Option<StoredSecret>, StoreError> {
        Ok(self
            .secrets
            .lock()
            .expect("not poisoned")
            .get(name)
            .cloned())
    }

    async fn create(
        &self,
        name: &str,
        _: &str,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, StoreError> {
        let rival = self.rival.lock().expect("not poisoned").take();
        if let Some(rival) = rival {
            self.put(name, rival);
        }
        if self.names().iter().any(|known| known == name) {
            return Ok(false);
        }
        self.put(name, data);
        Ok(true)
    }

    async fn replace(
        &self,
        name: &str,
        version: &str,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, StoreError> {
        let known = self.get(name).await?.is_some_and(|s| s.version == version);
        if known {
            self.put(name, data);
        }
        Ok(known)
    }
}

fn lifecycle(store: &Memory, folder: &std::path::Path) -> Lifecycle<Memory> {
    Lifecycle {
        store: store.clone(),
        folder: folder.to_owned(),
        organization: "cluster.local".to_owned(),
        root_lifetime: root::LIFETIME,
        handle: CaHandle::default(),
        metrics: CaMetrics::register(&prometheus::Registry::new()).expect("fresh"),
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn some_root() -> Material {
    root::create("cluster.local", root::LIFETIME, now()).expect("made")
}

fn nowhere() -> PathBuf {
    PathBuf::from("/nonexistent/cacerts")
}

#[tokio::test]
async fn a_root_is_made_once_and_read_by_others() {
    let store = Memory::default();
    let first = lifecycle(&store, &nowhere())
        .load(now())
        .await
        .expect("made");
    let second = lifecycle(&store, &nowhere())
        .load(now())
        .await
        .expect("read");
    assert_eq!(first, second);
    assert_eq!(store.names(), [SELF_SIGNED_SECRET]);
}

#[tokio::test]
async fn the_slower_replica_takes_the_root_of_the_faster() {
    let store = Memory::default();
    let rival = some_root();
    *store.rival.lock().expect("not poisoned") = Some(rival.to_data());
    let loaded = lifecycle(&store, &nowhere())
        .load(now())
        .await
        .expect("read");
    assert_eq!(loaded.material, rival);
}

#[tokio::test]
async fn plugged_secrets_come_first_and_files_before_them() {
    let store = Memory::default();
    let (from_secret, from_files) = (some_root(), some_root());
    store.put(PLUGGED_SECRET, from_secret.to_data());
    let loaded = lifecycle(&store, &nowhere())
        .load(now())
        .await
        .expect("read");
    assert_eq!(
        (loaded.source, loaded.material),
        (Source::PluggedSecret, from_secret)
    );
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in from_files.to_data() {
        std::fs::write(folder.path().join(name), bytes).expect("written");
    }
    let loaded = lifecycle(&store, folder.path())
        .load(now())
        .await
        .expect("read");
    assert_eq!(
        (loaded.source, loaded.material),
        (Source::MountedFiles, from_files)
    );
    assert_eq!(store.names(), [PLUGGED_SECRET]);
}

#[tokio::test]
async fn what_cannot_be_used_is_never_replaced_by_a_new_root() {
    for name in [PLUGGED_SECRET, SELF_SIGNED_SECRET] {
        let store = Memory::default();
        store.put(name, BTreeMap::new());
        let lifecycle = lifecycle(&store, &nowhere());
        assert_eq!(lifecycle.start().await.expect("not transient"), None);
        assert!(matches!(lifecycle.handle.state(), CaState::Refusing(_)));
        assert_eq!(store.names(), [name]);
    }
    // The key of another root.
    let store = Memory::default();
    let mixed = Material {
        key: some_root().key,
        ..some_root()
    };
    store.put(SELF_SIGNED_SECRET, mixed.to_data());
    let lifecycle = lifecycle(&store, &nowhere());
    assert_eq!(lifecycle.start().await.expect("not transient"), None);
    assert!(lifecycle.handle.authority().is_none());
}

#[tokio::test]
async fn a_deleted_root_is_put_back() {
    let store = Memory::default();
    let lifecycle = lifecycle(&store, &nowhere());
    let current = lifecycle.start().await.expect("loads").expect("usable");
    store.secrets.lock().expect("not poisoned").clear();
    let after = lifecycle.look(Some(current.clone())).await.expect("kept");
    assert_eq!(after, current);
    assert_eq!(store.names(), [SELF_SIGNED_SECRET]);
}

#[tokio::test]
async fn a_due_root_is_renewed_with_its_key() {
    let store = Memory::default();
    let old = root::create(
        "cluster.local",
        time::Duration::days(1),
        now() - time::Duration::hours(22),
    )
    .expect("made");
    store.put(SELF_SIGNED_SECRET, old.to_data());
    let loaded = lifecycle(&store, &nowhere())
        .load(now())
        .await
        .expect("renewed");
    assert_eq!(loaded.material.key, old.key);
    assert_ne!(loaded.material.certificate, old.certificate);
}

#[tokio::test]
async fn another_plugged_root_is_used_only_with_the_old_one_beside_it() {
    let store = Memory::default();
    let old = some_root();
    store.put(PLUGGED_SECRET, old.to_data());
    let lifecycle = lifecycle(&store, &nowhere());
    let current = lifecycle.start().await.expect("loads").expect("usable");
    let mut new = some_root();
    store.put(PLUGGED_SECRET, new.to_data());
    let kept = lifecycle.look(Some(current)).await.expect("kept");
    assert_eq!(kept.material, old);
    new.roots = format!("{}{}", new.certificate, old.certificate);
    store.put(PLUGGED_SECRET, new.to_data());
    let changed = lifecycle.look(Some(kept)).await.expect("changed");
    assert_eq!(changed.material.key, new.key);
    let authority = lifecycle.handle.authority().expect("signs");
    assert_eq!(authority.roots().len(), 2);
}
