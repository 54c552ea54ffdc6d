//! Answers the delta protocol of ADS; nothing ever changes.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use ironsail_xds::discovery::aggregated_discovery_service_server::AggregatedDiscoveryService;
use ironsail_xds::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use ironsail_xds::{Any, type_url};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

/// A resource and its name.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    pub body: Any,
}

/// Where resources come from.
pub trait Resources: Send + Sync + 'static {
    /// Those of a type; the named ones, or all.
    fn find(&self, type_url: &str, names: Option<&[String]>) -> Vec<Named>;
}

impl Resources for Vec<Named> {
    fn find(&self, type_url: &str, names: Option<&[String]>) -> Vec<Named> {
        let is_wanted = |named: &&Named| {
            named.body.type_url == type_url && names.is_none_or(|names| names.contains(&named.name))
        };
        self.iter().filter(is_wanted).cloned().collect()
    }
}

/// Serves the same resources to whoever asks.
#[derive(Clone)]
pub struct Discovery(Arc<dyn Resources>);

impl Discovery {
    pub fn new(resources: impl Resources) -> Self {
        Self(Arc::new(resources))
    }

    /// What a request is answered with; nothing for acknowledgements.
    fn answer(&self, request: &DeltaDiscoveryRequest) -> Option<DeltaDiscoveryResponse> {
        let is_first = request.response_nonce.is_empty();
        let has_no_names = matches!(
            request.type_url.as_str(),
            type_url::CLUSTER | type_url::LISTENER | type_url::NAME_TABLE
        );
        let names = match request.resource_names_subscribe.as_slice() {
            _ if has_no_names && is_first => None,
            [] => return None,
            names => Some(names),
        };
        let found = self.0.find(&request.type_url, names).into_iter();
        let resources = found.map(|named| Resource {
            name: named.name,
            version: "1".to_owned(),
            resource: Some(named.body),
            ..Default::default()
        });
        Some(DeltaDiscoveryResponse {
            resources: resources.collect(),
            type_url: request.type_url.clone(),
            nonce: "1".to_owned(),
            ..Default::default()
        })
    }
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("only the delta protocol is served"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let discovery = self.clone();
        let answers = request.into_inner().filter_map(move |request| {
            request.map_or_else(
                |error| Some(Err(error)),
                |request| discovery.answer(&request).map(Ok),
            )
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
