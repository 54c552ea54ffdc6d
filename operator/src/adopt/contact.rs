//! First contact: what is there before a plan was accepted, and whether it is to be taken over.

use std::collections::BTreeMap;

use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};

use super::live::{LiveObjects, Search};
use super::{ADOPT, Adoption, marks};
use crate::delete;
use crate::events::operator_resource;
use crate::list_merge::ListMerge;
use crate::observe;
use crate::plan::{Owner, Plan};
use crate::reconcile::is_ignored;

/// What is there already.
#[derive(Clone, Debug, PartialEq)]
pub enum Contact {
    /// Nothing of what would be installed.
    Nothing,
    /// Something that is not to be taken over.
    Found(Plan),
    /// The plan of what is to be taken over as it is.
    Adopted(Plan),
}

/// An IstioOperator that nothing was accepted for yet.
pub struct Stranger<'a> {
    pub client: &'a Client,
    pub owner: &'a Owner,
    pub annotations: &'a BTreeMap<String, String>,
}

impl Stranger<'_> {
    /// Looks at what is there. Nothing is written.
    ///
    /// # Errors
    /// The API server doesn't answer.
    pub async fn meet(&self, fresh: &Plan) -> Result<Contact, kube::Error> {
        let others = self.others().await?;
        let search = Search {
            client: self.client,
            owner: self.owner,
            fresh,
            others: &others,
        };
        let mut live = search.own().await?;
        if live.is_empty() {
            return Ok(Contact::Nothing);
        }
        let wanted = self.wants_adoption(&live).await?;
        if wanted {
            search.add_siblings(&mut live).await?;
        }
        let adoption = Adoption {
            client: self.client,
            owner: self.owner,
            fresh,
            live: &live,
        };
        Ok(match wanted {
            true => Contact::Adopted(adoption.as_adopted().await),
            false => Contact::Found(adoption.as_found()),
        })
    }

    /// Whether what is there is to be taken over: on request, or because the operator of Istio
    /// kept the object.
    async fn wants_adoption(&self, live: &LiveObjects) -> Result<bool, kube::Error> {
        match self.annotations.get(ADOPT).map(String::as_str) {
            Some("true") => return Ok(true),
            Some("false") => return Ok(false),
            _ => {}
        }
        let mut all = live.values().map(|live| &live.object.metadata);
        let by_owned =
            all.any(|m| observe::owner_of(m).as_ref() == Some(self.owner) && marks::on_owned(m));
        let by_era = ListMerge::of(self.annotations) == Ok(Some(ListMerge::ByName));
        Ok(by_era || by_owned || self.is_old().await?)
    }

    /// Whether the operator of Istio up to 1.23 kept the object. Its managed fields are needed,
    /// which no watch keeps.
    ///
    /// # Errors
    /// The API server doesn't answer.
    pub async fn is_old(&self) -> Result<bool, kube::Error> {
        let (resource, namespace) = (operator_resource(), &self.owner.namespace);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let found = match api.get_opt(&self.owner.name).await {
            // The cluster doesn't have the kind, which is not the answer that an object is absent.
            Err(kube::Error::Api(answer)) if answer.code == 404 => None,
            found => found?,
        };
        if found.is_some_and(|found| marks::on_object(&found)) {
            return Ok(true);
        }
        let owned = delete::readable(self.client, self.owner).await?;
        Ok(owned.held.iter().any(|o| marks::on_owned(&o.metadata)))
    }

    /// Other IstioOperators that somebody reconciles; none where there is no definition.
    async fn others(&self) -> Result<Vec<Owner>, kube::Error> {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &operator_resource());
        let all = match api.list(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(kube::Error::Api(answer)) if answer.code == 404 => Vec::new(),
            Err(error) => return Err(error),
        };
        let others = all
            .iter()
            .filter(|object| !is_ignored(object))
            .map(Owner::of);
        Ok(others.filter(|other| other != self.owner).collect())
    }
}
