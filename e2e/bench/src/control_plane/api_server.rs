//! As much of an API server as a control plane needs that only watches: lists, watches, and a place for what it writes.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::StreamExt;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ironsail_runtime::signal::Shutdown;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::world::World;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Listens on a loopback port until dropped.
pub struct ApiServer {
    port: u16,
    state: Arc<State>,
    shutdown: Shutdown,
}

struct State {
    /// Version and encoded objects of lists, by path.
    lists: HashMap<&'static str, (&'static str, Vec<String>)>,
    watches: Mutex<HashMap<String, Vec<mpsc::UnboundedSender<Bytes>>>>,
    /// What the control plane wrote, by path.
    written: Mutex<BTreeMap<String, Value>>,
}

impl ApiServer {
    /// Serves the objects of `world` from a thread of its own.
    pub fn start(world: &World) -> anyhow::Result<Self> {
        let lists = world.lists().into_iter().map(|(path, version, items)| {
            let items = items.iter().map(Value::to_string).collect();
            (path, (version, items))
        });
        let state = Arc::new(State {
            lists: lists.collect(),
            watches: Mutex::default(),
            written: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let shutdown = Shutdown::new();
        let (end, shared) = (shutdown.child(), Arc::clone(&state));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("api-server".to_owned())
            .spawn(move || {
                if let Some(Err(error)) = runtime.block_on(end.guard(serve(listener, shared))) {
                    eprintln!("the stand-in for the API server ended: {error:#}");
                }
            })?;
        Ok(Self {
            port,
            state,
            shutdown,
        })
    }

    /// Writes a kubeconfig that leads here.
    pub fn kubeconfig(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        let path = directory.join("kubeconfig.json");
        let server = format!("http://127.0.0.1:{}", self.port);
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": server}}],
            "users": [{"name": "bench", "user": {}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        });
        std::fs::write(&path, config.to_string())?;
        Ok(path)
    }

    /// Tells all watches of a list that an object changed; when that was.
    pub fn modify(&self, path: &str, mut object: Value) -> Instant {
        if let Some((version, _)) = self.state.lists.get(path) {
            object["apiVersion"] = (*version).into();
        }
        let line = format!("{}\n", json!({"type": "MODIFIED", "object": object}));
        let line = Bytes::from(line);
        let mut watches = lock(&self.state.watches);
        let changed = Instant::now();
        if let Some(watches) = watches.get_mut(path) {
            watches.retain(|watch| watch.send(line.clone()).is_ok());
        }
        changed
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            // The control plane may end with requests under way.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let query = Query::parse(request.uri().query().unwrap_or_default());
    if query.is_watch {
        return Ok(state.watch(path));
    }
    if let Some((version, items)) = state.lists.get(path.as_str()) {
        return Ok(reply(StatusCode::OK, query.page(version, items)));
    }
    let method = request.method().clone();
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    Ok(state.object(&method, path, &body))
}

/// What a request for a list says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    is_watch: bool,
    limit: Option<usize>,
    /// Where the page begins.
    begin: usize,
}

impl Query {
    fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for (name, value) in text.split('&').filter_map(|part| part.split_once('=')) {
            match name {
                "watch" => query.is_watch = matches!(value, "1" | "true"),
                "limit" => query.limit = value.parse().ok().filter(|limit| *limit > 0),
                "continue" => query.begin = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        query
    }

    /// One page of a list, with the place of the next one.
    fn page(&self, version: &str, items: &[String]) -> String {
        let rest = items.get(self.begin..).unwrap_or_default();
        let page = &rest[..self.limit.unwrap_or(rest.len()).min(rest.len())];
        let mut metadata = json!({"resourceVersion": "1"});
        if page.len() < rest.len() {
            metadata["continue"] = (self.begin + page.len()).to_string().into();
        }
        format!(
            r#"{{"kind":"List","apiVersion":"{version}","metadata":{metadata},"items":[{}]}}"#,
            page.join(",")
        )
    }
}

impl State {
    fn watch(&self, path: String) -> Response<Body> {
        let (sender, events) = mpsc::unbounded_channel();
        lock(&self.watches).entry(path).or_default().push(sender);
        let events = UnboundedReceiverStream::new(events).map(|line| Ok(Frame::data(line)));
        Response::new(BodyExt::boxed_unsync(StreamBody::new(events)))
    }

    /// Objects of other kinds: kept as they were written, absent before.
    fn object(&self, method: &Method, path: String, body: &[u8]) -> Response<Body> {
        let mut written = lock(&self.written);
        if method != Method::GET && method != Method::DELETE {
            let Ok(mut object) = serde_json::from_slice::<Value>(body) else {
                return reply(StatusCode::BAD_REQUEST, "{}");
            };
            object["metadata"]["resourceVersion"] = "1".into();
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let path = match method == Method::POST {
                true => format!("{path}/{name}"),
                false => path,
            };
            let answer = object.to_string();
            written.insert(path, object);
            return reply(StatusCode::CREATED, answer);
        }
        if let Some(object) = written.get(&path) {
            return reply(StatusCode::OK, object.to_string());
        }
        if is_collection(&path) {
            let empty = json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []});
            return reply(StatusCode::OK, empty.to_string());
        }
        let absent = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": path});
        reply(StatusCode::NOT_FOUND, absent.to_string())
    }
}

/// Whether a path names a list: `/api/v1/<kind>`, `/apis/<group>/<version>/<kind>`, or either within a namespace.
fn is_collection(path: &str) -> bool {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => return false,
    };
    matches!(rest, [_] | ["namespaces", _, _])
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let items: Vec<String> = (0..5).map(|number| number.to_string()).collect();
        let page = |query: &str| -> Value {
            serde_json::from_str(&Query::parse(query).page("v1", &items)).expect("JSON")
        };
        let first = page("limit=3&resourceVersion=0");
        assert_eq!(first["items"], json!([0, 1, 2]));
        assert_eq!(first["metadata"]["continue"], "3");
        let last = page("limit=3&continue=3");
        assert_eq!(last["items"], json!([3, 4]));
        assert_eq!(last["metadata"]["continue"], Value::Null);
        assert_eq!(page("")["items"].as_array().map(Vec::len), Some(5));
        assert!(Query::parse("allowWatchBookmarks=true&watch=true").is_watch);
    }

    #[test]
    fn lists_and_objects_are_told_apart() {
        assert!(is_collection("/api/v1/secrets"));
        assert!(is_collection("/api/v1/namespaces/istio-system/configmaps"));
        assert!(is_collection("/apis/networking.istio.io/v1/gateways"));
        assert!(!is_collection(
            "/api/v1/namespaces/istio-system/secrets/istio-ca-secret"
        ));
        assert!(!is_collection("/version"));
    }
}
