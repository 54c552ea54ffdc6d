//! `istio.v1.auth.IstioCertificateService`: server and client.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Service, StdError};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::istio::{IstioCertificateRequest, IstioCertificateResponse};

/// Full name of the service.
pub const SERVICE: &str = "istio.v1.auth.IstioCertificateService";
/// Path of its only method.
pub const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// Bytes of a request that are read at most.
const MAX_REQUEST: usize = 256 * 1024;

/// What signs.
pub trait CertificateService: Send + Sync + 'static {
    /// Signs a request for the identity of the caller.
    fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> impl Future<Output = Result<Response<IstioCertificateResponse>, Status>> + Send;
}

/// Serves a [`CertificateService`] as a tower service; other paths are unimplemented.
#[derive(Debug)]
pub struct CertificateServer<T> {
    inner: Arc<T>,
}

impl<T> CertificateServer<T> {
    pub fn new(inner: Arc<T>) -> Self {
        Self { inner }
    }
}

impl<T> Clone for CertificateServer<T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<T> NamedService for CertificateServer<T> {
    const NAME: &'static str = SERVICE;
}

type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl<T, B> Service<http::Request<B>> for CertificateServer<T>
where
    T: CertificateService,
    B: http_body::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        Box::pin(async move {
            if request.uri().path() != CREATE_CERTIFICATE {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let codec = ProstCodec::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(MAX_REQUEST);
            Ok(grpc.unary(CreateCertificate(inner), request).await)
        })
    }
}

struct CreateCertificate<T>(Arc<T>);

impl<T: CertificateService> UnaryService<IstioCertificateRequest> for CreateCertificate<T> {
    type Response = IstioCertificateResponse;
    type Future = Boxed<Response<IstioCertificateResponse>, Status>;

    fn call(&mut self, request: Request<IstioCertificateRequest>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { inner.create_certificate(request).await })
    }
}

/// Calls the service over any gRPC transport.
#[derive(Clone, Debug)]
pub struct CertificateClient<C> {
    inner: tonic::client::Grpc<C>,
}

impl<C> CertificateClient<C>
where
    C: GrpcService<Body>,
    C::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
    C::Error: Into<StdError>,
{
    pub fn new(transport: C) -> Self {
        Self {
            inner: tonic::client::Grpc::new(transport),
        }
    }

    /// Asks for a certificate; credentials are metadata of the request.
    ///
    /// # Errors
    /// The transport fails, or the service refuses.
    pub async fn create_certificate(
        &mut self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        self.inner.ready().await.map_err(|error| {
            let error: StdError = error.into();
            Status::new(
                Code::Unavailable,
                format!("transport is not ready: {error}"),
            )
        })?;
        let path = PathAndQuery::from_static(CREATE_CERTIFICATE);
        self.inner.unary(request, path, ProstCodec::default()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl CertificateService for Echo {
        async fn create_certificate(
            &self,
            request: Request<IstioCertificateRequest>,
        ) -> Result<Response<IstioCertificateResponse>, Status> {
            match request.into_inner() {
                request if request.csr.is_empty() => Err(Status::invalid_argument("empty")),
                request => Ok(Response::new(IstioCertificateResponse {
                    cert_chain: vec![request.csr],
                })),
            }
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        let mut context = Context::from_waker(std::task::Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
        }
    }

    #[test]
    fn client_and_server_understand_each_other() {
        let mut client = CertificateClient::new(CertificateServer::new(Arc::new(Echo)));
        let mut call = |csr: &str| {
            block_on(
                client.create_certificate(Request::new(IstioCertificateRequest {
                    csr: csr.to_owned(),
                    ..Default::default()
                })),
            )
        };
        let answer = call("request").expect("answered").into_inner();
        assert_eq!(answer.cert_chain, ["request"]);
        assert_eq!(call("").expect_err("refused").code(), Code::InvalidArgument);
    }
}
