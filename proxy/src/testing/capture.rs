//! What a stock control plane sent to a proxy, as files.
//!
//! They are not part of the project: `IRONSAIL_REFERENCE` names their folder, else `shared/reference` beside the
//! workspace is tried. Tests that need them say so and pass without.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ironsail_xds::discovery::DiscoveryResponse;
use ironsail_xds::{Any, type_url};
use prost::Message;

use crate::resource::parse::wire_fields;
use crate::xds::{Resource, Update};

/// Files of a capture, in the order in which a control plane sends them.
const FILES: [&str; 4] = ["clusters.pb", "endpoints.pb", "listeners.pb", "routes.pb"];

/// One response per type.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    responses: BTreeMap<String, DiscoveryResponse>,
}

impl Capture {
    /// The capture of a proxy, by the name of its folder.
    pub(crate) fn read(proxy: &str) -> Option<Self> {
        let folder = folder(proxy)?;
        let read = |file: &str| {
            let bytes = std::fs::read(folder.join(file)).expect("a readable file");
            let response =
                DiscoveryResponse::decode(bytes.as_slice()).expect("a discovery response");
            (response.type_url.clone(), response)
        };
        Some(Self {
            responses: FILES.into_iter().map(read).collect(),
        })
    }

    /// Resources of a type, by name, in the order in which they were sent.
    pub(crate) fn resources(&self, type_url: &str) -> impl Iterator<Item = (String, &Any)> {
        let response = self.responses.get(type_url);
        let resources = response.map_or(&[][..], |response| &response.resources);
        resources.iter().map(|any| (resource_name(any), any))
    }

    pub(crate) fn version(&self, type_url: &str) -> &str {
        let response = self.responses.get(type_url);
        response.map_or("", |response| &response.version_info)
    }

    /// All resources of a type as one update.
    pub(crate) fn update(&self, type_url: &str) -> Update {
        let resource = |(name, any): (String, &Any)| Resource {
            name,
            version: self.version(type_url).to_owned(),
            body: any.value.clone().into(),
            type_url: any.type_url.clone(),
        };
        Update {
            added: self.resources(type_url).map(resource).collect(),
            removed: Vec::new(),
            full: [type_url::CLUSTER, type_url::LISTENER].contains(&type_url),
            type_url: type_url.to_owned(),
        }
    }
}

fn folder(proxy: &str) -> Option<PathBuf> {
    let own = std::env::var_os("IRONSAIL_REFERENCE").map(PathBuf::from);
    let here =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"));
    let beside = here
        .ancestors()
        .map(|folder| folder.join("shared/reference"));
    let found = own
        .into_iter()
        .chain(beside)
        .map(|folder| folder.join("xds").join(proxy))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        eprintln!("skipped: no captured configuration; set IRONSAIL_REFERENCE to its folder");
    }
    found
}

/// All resource messages carry their name in field 1.
fn resource_name(any: &Any) -> String {
    let fields = wire_fields(&any.value).expect("well formed");
    let name = fields.into_iter().find(|(tag, _)| *tag == 1);
    String::from_utf8(name.expect("a name").1.to_vec()).expect("UTF-8")
}
