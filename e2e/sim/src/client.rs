//! The client's side of a call.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use ironsail_runtime::tls;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::app::{LocalExecutor, headers};
use crate::call::{Answer, Call, Message, Request, Tls};

/// Longer than any timeout of a test.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Says what the call says, and returns what came back.
///
/// # Errors
/// The call itself is malformed.
pub async fn speak(stream: DuplexStream, call: &Call) -> anyhow::Result<Answer> {
    match &call.tls {
        None => say(stream, &call.message).await,
        Some(tls) => {
            let (config, name) = settings(tls, &call.message)?;
            let connector = TlsConnector::from(Arc::new(config));
            match connector.connect(name, stream).await {
                Ok(stream) => say(stream, &call.message).await,
                Err(error) => Ok(Answer::Handshake(error.to_string())),
            }
        }
    }
}

fn settings(
    tls: &Tls,
    message: &Message,
) -> anyhow::Result<(rustls::ClientConfig, ServerName<'static>)> {
    let roots = tls::roots_from_pem(tls.roots.as_bytes())?;
    let own = match &tls.certificate {
        None => None,
        Some((chain, key)) => {
            let chain = tls::certificates(chain.as_bytes())?;
            Some((chain, tls::private_key(key.as_bytes())?))
        }
    };
    let mut config = tls::client_config(roots, own)?;
    if let Message::Request(request) = message {
        let protocol: &[u8] = if request.http2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
    }
    Ok((config, ServerName::try_from(tls.server_name.clone())?))
}

async fn say<S>(stream: S, message: &Message) -> anyhow::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let answer = timeout(PATIENCE, async {
        match message {
            Message::Bytes(bytes) => Ok(say_bytes(stream, bytes).await),
            Message::Request(request) => say_request(stream, request).await,
        }
    });
    answer.await.unwrap_or(Ok(Answer::Silence))
}

async fn say_bytes<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &[u8]) -> Answer {
    let mut text = [0; 4096];
    let exchange = async {
        stream.write_all(bytes).await?;
        stream.flush().await?;
        stream.read(&mut text).await
    };
    match exchange.await {
        Ok(0) | Err(_) => Answer::Closed,
        Ok(length) => Answer::Text(String::from_utf8_lossy(&text[..length]).into_owned()),
    }
}

async fn say_request<S>(stream: S, request: &Request) -> anyhow::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut head = http::Request::builder().method(request.method);
    for (name, value) in &request.headers {
        head = head.header(name, value);
    }
    let io = TokioIo::new(stream);
    if request.http2 {
        let uri = format!("http://{}{}", request.authority, request.path);
        let message = head.uri(uri).body(Empty::<Bytes>::new())?;
        let Ok((mut client, connection)) = http2::handshake(LocalExecutor, io).await else {
            return Ok(Answer::Closed);
        };
        return Ok(drive(connection, async move {
            let response = client.send_request(message).await.ok()?;
            receive(response).await
        })
        .await);
    }
    let head = head
        .uri(&request.path)
        .header(http::header::HOST, &request.authority);
    let message = head.body(Empty::<Bytes>::new())?;
    let Ok((mut client, connection)) = http1::handshake(io).await else {
        return Ok(Answer::Closed);
    };
    Ok(drive(connection, async move {
        let response = client.send_request(message).await.ok()?;
        receive(response).await
    })
    .await)
}

/// Runs the connection beside the exchange and ends it after that.
async fn drive(
    connection: impl Future + 'static,
    exchange: impl Future<Output = Option<Answer>>,
) -> Answer {
    let connection = tokio::task::spawn_local(async move {
        connection.await;
    });
    let answer = exchange.await;
    connection.abort();
    answer.unwrap_or(Answer::Closed)
}

async fn receive(response: http::Response<hyper::body::Incoming>) -> Option<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    Some(Answer::Response {
        status: head.status.as_u16(),
        headers: headers(&head.headers),
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
