//! The operator's own rights, kept until it has finished the removal of its IstioOperators.
//!
//! `kubectl delete -f deploy/operator.yaml` deletes definition, namespaces, account and roles in
//! the same moment. An operator that has lost its rights can't drop its finalizer, and everything
//! waits for it forever. So, while there is an IstioOperator to be finished,
//!
//! - the operator's account has a finalizer: Kubernetes takes tokens of an account that is being
//!   deleted for another minute;
//! - a role that is in no manifest has what finishing needs. It belongs to the operator's
//!   namespace, which lives as long as the account, and is collected after it.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, MutexGuard};

use crate::apply::MANAGER;
use crate::component::{role_ref, rule, service_account};
use crate::object::{KINDS, owner_reference};
use crate::{bundle, finalizer, namespace};

/// Keeps the operator's account until no IstioOperator needs it.
pub const HOLD: &str = "operator.ironsail.dev/removal";

/// The account that the operator runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub namespace: String,
    pub name: String,
}

/// Keeps the rights of one operator.
pub struct Keeper {
    client: Client,
    /// Outside of a cluster there is none, and nothing to keep.
    account: Option<Account>,
    /// Whether everything is known to be in place.
    kept: Mutex<bool>,
}

/// As long as this lives, the rights are not given up.
pub struct Kept<'a> {
    _kept: MutexGuard<'a, bool>,
    /// Why they could not be secured.
    pub failure: Option<kube::Error>,
}

impl Keeper {
    pub fn new(client: Client, account: Option<Account>) -> Self {
        Self {
            client,
            account,
            kept: Mutex::default(),
        }
    }

    /// Makes sure that the rights outlive the manifest, before a finalizer is written.
    pub async fn keep(&self) -> Kept<'_> {
        let mut kept = self.kept.lock().await;
        let failure = match &self.account {
            Some(account) if !*kept => self.secure(account).await.err(),
            _ => None,
        };
        *kept = failure.is_none();
        Kept {
            _kept: kept,
            failure,
        }
    }

    async fn secure(&self, account: &Account) -> Result<(), kube::Error> {
        let accounts = self.accounts(account);
        let Some(found) = accounts.get_metadata_opt(&account.name).await? else {
            return Ok(());
        };
        // A finalizer can't be added to what is being deleted.
        if found.metadata.deletion_timestamp.is_none() {
            finalizer::add(&accounts, &found.metadata, HOLD).await?;
        }
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let home = namespaces.get_metadata(&account.namespace).await?;
        let (role, binding) = removal_rights(account, &home.metadata);
        self.ensure(&role, |live| live.rules == role.rules).await?;
        self.ensure(&binding, |live| live.subjects == binding.subjects)
            .await
    }

    /// Writes an object, unless it is there as wanted.
    async fn ensure<K>(&self, object: &K, same: impl Fn(&K) -> bool) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let name = object.meta().name.as_deref().unwrap_or_default();
        let owned = |live: &K| live.meta().owner_references == object.meta().owner_references;
        if let Some(live) = api.get_opt(name).await?
            && owned(&live)
            && same(&live)
        {
            return Ok(());
        }
        let params = PatchParams::apply(MANAGER).force();
        api.patch(name, &params, &Patch::Apply(object))
            .await
            .map(drop)
    }

    /// Whether the operator is being removed, by its namespace or by its account alone.
    ///
    /// # Errors
    /// The API server doesn't answer.
    pub async fn is_removed(&self) -> Result<bool, kube::Error> {
        let Some(account) = &self.account else {
            return Ok(false);
        };
        let home = namespace::state(&self.client, &account.namespace).await?;
        if matches!(home, namespace::State::Terminating(_)) {
            return Ok(true);
        }
        let accounts = self.accounts(account);
        let found = accounts.get_metadata_opt(&account.name).await?;
        Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()))
    }

    /// Gives the rights up, unless they are still needed. Nobody secures them meanwhile.
    ///
    /// # Errors
    /// The API server doesn't answer; the rights are kept.
    pub async fn let_go_unless(
        &self,
        needed: impl Future<Output = Result<bool, kube::Error>>,
    ) -> Result<(), kube::Error> {
        let mut kept = self.kept.lock().await;
        let Some(account) = &self.account else {
            return Ok(());
        };
        if !needed.await? {
            *kept = false;
            let accounts = self.accounts(account);
            finalizer::remove(&accounts, &account.name, HOLD).await?;
        }
        Ok(())
    }

    /// Gives the rights up.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn let_go(&self) -> Result<(), kube::Error> {
        self.let_go_unless(async { Ok(false) }).await
    }

    fn accounts(&self, account: &Account) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<ServiceAccount>(&());
        Api::namespaced_with(self.client.clone(), &account.namespace, &resource)
    }
}

/// A role with what finishing needs, and its binding, owned by the namespace of the operator.
fn removal_rights(account: &Account, home: &ObjectMeta) -> (ClusterRole, ClusterRoleBinding) {
    let name = format!("{}-removal-{}", account.name, account.namespace);
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        labels: Some(bundle::labels()),
        owner_references: Some(vec![owner_reference::<Namespace>(home)]),
        ..ObjectMeta::default()
    };
    let role = ClusterRole {
        metadata: metadata.clone(),
        rules: Some(removal_rules()),
        ..ClusterRole::default()
    };
    let binding = ClusterRoleBinding {
        metadata,
        role_ref: role_ref("ClusterRole", &name),
        subjects: Some(vec![service_account(
            &account.name,
            Some(&account.namespace),
        )]),
    };
    (role, binding)
}

/// What finishing does: a part of what the operator holds itself.
pub fn removal_rules() -> Vec<PolicyRule> {
    let mut rules = vec![
        rule(
            &["install.istio.io"],
            &["istiooperators"],
            &["get", "list", "patch"],
        ),
        rule(&[KINDS[0].group], &[KINDS[0].plural], &["get"]),
        rule(&[""], &["namespaces"], &["get"]),
        rule(&[""], &["serviceaccounts"], &["get", "patch"]),
    ];
    let deleted = KINDS.iter().filter(|kind| kind.prune);
    let verbs = ["list", "patch", "delete"];
    rules.extend(deleted.map(|kind| rule(&[kind.group], &[kind.plural], &verbs)));
    rules
}
