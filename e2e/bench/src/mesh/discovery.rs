//! Answers the delta protocol of ADS out of a fixed set of resources.

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

/// Serves the same resources to whoever asks.
#[derive(Clone)]
pub struct Discovery(Arc<[Named]>);

impl Discovery {
    pub fn new(resources: Vec<Named>) -> Self {
        Self(resources.into())
    }

    /// What a request is answered with; nothing for acknowledgements.
    fn answer(&self, request: &DeltaDiscoveryRequest) -> Option<DeltaDiscoveryResponse> {
        let names = &request.resource_names_subscribe;
        let is_first = request.response_nonce.is_empty();
        let of_all_names = matches!(
            request.type_url.as_str(),
            type_url::CLUSTER | type_url::LISTENER
        );
        let everything = of_all_names && is_first;
        if !everything && names.is_empty() {
            return None;
        }
        let wanted = |named: &&Named| {
            named.body.type_url == request.type_url && (everything || names.contains(&named.name))
        };
        let resources = self.0.iter().filter(wanted).map(|named| Resource {
            name: named.name.clone(),
            version: "1".to_owned(),
            resource: Some(named.body.clone()),
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
