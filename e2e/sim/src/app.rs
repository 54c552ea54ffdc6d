//! Applications: they take HTTP/1.1, HTTP/2 and any other bytes on every port, and remember what they saw.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long a server waits for its client to speak before it speaks itself.
const SILENCE: Duration = Duration::from_secs(2);
/// What it says then, behind its name.
const GREETING: &str = "greets";

/// Where an application stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub workload: String,
    pub port: u16,
}

/// A request, or the first bytes of a connection, as an application saw it.
#[derive(Clone, Debug)]
pub struct Served {
    pub workload: String,
    pub port: u16,
    /// `HTTP/1.1`, `HTTP/2` or `TCP`.
    pub protocol: &'static str,
    /// Empty for TCP, as all that follows but `body`.
    pub method: String,
    pub authority: String,
    /// With the query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Served {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// What an application answers.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub delay: Duration,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            delay: Duration::ZERO,
        }
    }
}

/// Decides on answers.
type Handler = Rc<dyn Fn(&Served) -> Reply>;

/// All applications.
#[derive(Default)]
pub struct Apps {
    served: RefCell<Vec<Served>>,
    handlers: RefCell<BTreeMap<String, Handler>>,
}

impl Apps {
    /// What was served since the last time.
    pub fn take(&self) -> Vec<Served> {
        self.served.take()
    }

    /// Makes a workload answer otherwise than with 200.
    pub fn answer(&self, workload: &str, handler: impl Fn(&Served) -> Reply + 'static) {
        let handler: Handler = Rc::new(handler);
        self.handlers
            .borrow_mut()
            .insert(workload.to_owned(), handler);
    }

    fn reply(&self, served: Served) -> Reply {
        let handler = self.handlers.borrow().get(&served.workload).cloned();
        let reply = handler.map_or_else(Reply::default, |handler| handler(&served));
        self.served.borrow_mut().push(served);
        reply
    }
}

pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut headers = headers.iter();
    let (_, value) = headers.find(|(own, _)| own == name)?;
    Some(value)
}

/// Headers with their values as text.
pub(crate) fn headers(map: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect()
}

/// Runs tasks of connections where everything else runs.
#[derive(Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves one connection.
///
/// `ending` turns true when the application is to end: it answers what it has begun, then closes.
pub(crate) async fn serve(
    stream: DuplexStream,
    place: Place,
    apps: Rc<Apps>,
    ending: Option<watch::Receiver<bool>>,
) {
    let mut stream = BufReader::new(stream);
    let first = match timeout(SILENCE, stream.fill_buf()).await {
        Ok(Ok(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Ok(Err(_)) => return,
        Err(_) => String::new(),
    };
    let is_http2 = first.starts_with("PRI * HTTP/2");
    let is_http1 = first
        .lines()
        .next()
        .is_some_and(|line| line.ends_with(" HTTP/1.1"));
    // How connections end is the client's to judge.
    if is_http2 || is_http1 {
        let service = service_fn(|request| answer(request, place.clone(), Rc::clone(&apps)));
        let builder = auto::Builder::new(LocalExecutor);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = ended(ending) => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    } else {
        let _ = echo(stream, first, place, &apps).await;
    }
}

/// Completes when the application is to end.
async fn ended(ending: Option<watch::Receiver<bool>>) {
    let is_told = match ending {
        Some(mut ending) => ending.wait_for(|ending| *ending).await.is_ok(),
        None => false,
    };
    if !is_told {
        std::future::pending().await
    }
}

/// Says its name with what came, or with a greeting when nothing did.
async fn echo(
    mut stream: BufReader<DuplexStream>,
    first: String,
    place: Place,
    apps: &Apps,
) -> std::io::Result<()> {
    let read = stream.buffer().len();
    stream.consume(read);
    let said = if first.is_empty() { GREETING } else { &first };
    let text = format!("{} {said}", place.workload);
    apps.reply(Served {
        workload: place.workload,
        port: place.port,
        protocol: "TCP",
        method: String::new(),
        authority: String::new(),
        path: String::new(),
        headers: Vec::new(),
        body: first,
    });
    stream.write_all(text.as_bytes()).await?;
    while !stream.fill_buf().await?.is_empty() {
        let read = stream.buffer().len();
        stream.consume(read);
    }
    Ok(())
}

async fn answer(
    request: Request<Incoming>,
    place: Place,
    apps: Rc<Apps>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    // A body that breaks off is shorter.
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let headers = headers(&head.headers);
    let authority = head.uri.authority().map(ToString::to_string);
    let authority = authority.or_else(|| header(&headers, "host").map(str::to_owned));
    let workload = place.workload.clone();
    let reply = apps.reply(Served {
        workload: place.workload,
        port: place.port,
        protocol: match head.version {
            Version::HTTP_2 => "HTTP/2",
            _ => "HTTP/1.1",
        },
        method: head.method.to_string(),
        authority: authority.unwrap_or_default(),
        path: head
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    Ok(response
        .body(workload.into())
        .expect("tests give valid heads"))
}
