//! A mesh as one sidecar sees it, through the control plane's own generation, brought onto this machine: one listener is
//! entered on a port of loopback, one cluster leads to the backend.

use std::sync::Arc;

use anyhow::Context;
use ironsail_controlplane::generate::{self, Cache, Resource};
use ironsail_controlplane::model::object::{Change, Object};
use ironsail_controlplane::model::proxy::{Proxy, ProxyNode};
use ironsail_controlplane::model::snapshot::{Options, Snapshot, SnapshotBuilder};
use ironsail_xds::endpoint::{ClusterLoadAssignment, lb_endpoint::HostIdentifier};
use ironsail_xds::listener::Listener;
use ironsail_xds::protobuf::BoolValue;
use ironsail_xds::{Any, core, type_url};
use prost::Message;

use crate::config;
use crate::mesh::{Named, Resources};

/// Who is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Ironsail,
    /// Without the filters that only Istio's builds have.
    Envoy,
}

/// Where traffic enters and leaves.
#[derive(Clone, Copy, Debug)]
pub struct Bindings {
    /// Name of the listener.
    pub listener: &'static str,
    pub port: u16,
    /// Name of the cluster; its endpoints are the backend.
    pub cluster: &'static str,
    pub backend: u16,
    /// Whether the backend speaks mutual TLS.
    pub is_tls: bool,
}

/// What one sidecar is sent.
pub struct View {
    snapshot: Arc<Snapshot>,
    proxy: Proxy,
    cache: Cache,
    bindings: Option<Bindings>,
}

impl View {
    /// The view of the node with this id.
    pub fn new(objects: Vec<Object>, id: &str, client: Client) -> anyhow::Result<Self> {
        let mut builder = SnapshotBuilder::new(Options::default());
        for object in objects {
            builder.apply(Change::Upsert(object));
        }
        let (snapshot, _) = builder.snapshot();
        let router = core::Extension {
            name: "envoy.filters.http.router".to_owned(),
            ..Default::default()
        };
        let node = core::Node {
            id: id.to_owned(),
            extensions: match client {
                Client::Ironsail => Vec::new(),
                Client::Envoy => vec![router],
            },
            ..Default::default()
        };
        let node = Arc::new(ProxyNode::from_node(Some(&node))?);
        Ok(Self {
            proxy: Proxy::new(node, &snapshot),
            snapshot,
            cache: Cache::default(),
            bindings: None,
        })
    }

    pub fn bound(self, bindings: Bindings) -> Self {
        Self {
            bindings: Some(bindings),
            ..self
        }
    }

    /// Number of clusters.
    pub fn clusters(&self) -> usize {
        self.all_clusters().len()
    }

    pub fn all_clusters(&self) -> Vec<Resource> {
        generate::clusters(&self.snapshot, &self.proxy, &self.cache)
    }

    pub fn routes(&self, names: &[String]) -> Vec<Resource> {
        generate::routes(&self.snapshot, &self.proxy, &self.cache, names)
    }

    /// The listeners. Other ports are left to the kernel, because another program of this machine may have the usual ones.
    pub fn listeners(&self) -> anyhow::Result<Vec<Listener>> {
        let listeners = generate::listeners(&self.snapshot, &self.proxy, &self.cache);
        let rewritten = listeners.into_iter().map(|resource| {
            let mut listener = Listener::decode(&*resource.body)?;
            let entry = self
                .bindings
                .filter(|bindings| bindings.listener == listener.name);
            let is_bound = listener
                .bind_to_port
                .as_ref()
                .is_none_or(|bound| bound.value);
            if entry.is_some() {
                // Passing on what is not HTTP to where the client went would lead back here.
                listener.default_filter_chain = None;
            }
            if entry.is_some() || is_bound {
                listener.bind_to_port = Some(BoolValue { value: true });
                listener.address = Some(config::address(entry.map_or(0, |entry| entry.port)));
                listener.additional_addresses.clear();
            }
            Ok(listener)
        });
        rewritten.collect()
    }

    /// Endpoints of the named clusters.
    pub fn endpoints(&self, names: &[String]) -> anyhow::Result<Vec<ClusterLoadAssignment>> {
        let all = generate::endpoints(&self.snapshot, &self.proxy, &self.cache, names);
        let rewritten = all.into_iter().map(|resource| {
            let mut assignment = ClusterLoadAssignment::decode(&*resource.body)?;
            if let Some(bindings) = &self.bindings
                && bindings.cluster == assignment.cluster_name
            {
                bindings.lead_to_backend(&mut assignment);
            }
            Ok(assignment)
        });
        rewritten.collect()
    }

    fn name_table(&self) -> Vec<Resource> {
        generate::name_table(&self.snapshot, &self.proxy, &self.cache)
    }
}

impl Bindings {
    /// One endpoint stays, with its metadata if it speaks TLS.
    fn lead_to_backend(&self, assignment: &mut ClusterLoadAssignment) {
        assignment.endpoints.truncate(1);
        for group in &mut assignment.endpoints {
            group.lb_endpoints.truncate(1);
        }
        let endpoints = assignment.endpoints.iter_mut();
        for endpoint in endpoints.flat_map(|group| &mut group.lb_endpoints) {
            if let Some(HostIdentifier::Endpoint(endpoint)) = &mut endpoint.host_identifier {
                endpoint.address = Some(config::address(self.backend));
            }
            if !self.is_tls {
                endpoint.metadata = None;
            }
        }
    }
}

impl Resources for View {
    fn find(&self, type_url: &str, names: Option<&[String]>) -> Vec<Named> {
        let names = names.unwrap_or_default();
        let shared = |resources: Vec<Resource>| {
            let named = resources.into_iter().map(|resource| Named {
                name: resource.name.to_string(),
                body: Any {
                    type_url: type_url.to_owned(),
                    value: resource.body.into(),
                },
            });
            named.collect()
        };
        let own = |name: &str, message: Vec<u8>| Named {
            name: name.to_owned(),
            body: Any {
                type_url: type_url.to_owned(),
                value: message,
            },
        };
        match type_url {
            type_url::CLUSTER => shared(self.all_clusters()),
            type_url::ROUTE => shared(self.routes(names)),
            type_url::NAME_TABLE => shared(self.name_table()),
            type_url::LISTENER => {
                let listeners = self.listeners().unwrap_or_default();
                let named = listeners
                    .iter()
                    .map(|one| own(&one.name, one.encode_to_vec()));
                named.collect()
            }
            type_url::ENDPOINT => {
                let all = self.endpoints(names).unwrap_or_default();
                let named = all
                    .iter()
                    .map(|one| own(&one.cluster_name, one.encode_to_vec()));
                named.collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Clusters and endpoints of a view, behind the listener of another configuration.
pub struct ClustersOf {
    pub view: View,
    pub rest: Vec<Named>,
}

impl Resources for ClustersOf {
    fn find(&self, type_url: &str, names: Option<&[String]>) -> Vec<Named> {
        let mut found = match type_url {
            type_url::CLUSTER | type_url::ENDPOINT => self.view.find(type_url, names),
            _ => Vec::new(),
        };
        found.extend(self.rest.find(type_url, names));
        found
    }
}

/// A resource of its kind, or which one could not be read.
pub fn decode<T: Message + Default>(resource: &Resource) -> anyhow::Result<T> {
    T::decode(&*resource.body).with_context(|| resource.name.to_string())
}
