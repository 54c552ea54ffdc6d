//! A client of TLS 1.2 that wants another handshake on its connection, with OpenSSL.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ironsail_peer::free_port;
use ironsail_wire::{Hop, Proxy, Upstream, config, origin::Origin};
use ironsail_xds::core::TrafficDirection;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

/// For whatever is awaited, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the proxy logs about connections.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
        log.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How often a client was told off.
fn refusals() -> usize {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8_lossy(&log);
    text.matches("the client asked for renegotiation").count()
}

/// `openssl s_client`, which takes its orders from lines that begin with a capital letter.
struct Client {
    child: Child,
    output: PathBuf,
}

impl Client {
    fn start(name: &str, port: u16, identity: Option<&Path>, directory: &Path) -> Self {
        let output = directory.join(name);
        let file = File::create(&output).expect("a new file");
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-tls1_2", "-servername", "localhost"])
            .arg("-connect")
            .arg(format!("127.0.0.1:{port}"));
        if let Some(identity) = identity {
            command.arg("-cert").arg(identity);
        }
        let child = command
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a descriptor"))
            .stderr(file)
            .spawn()
            .expect("`make peer-tools` installs openssl");
        Self { child, output }
    }

    fn say(&mut self, text: &str) {
        let input = self.child.stdin.as_mut().expect("piped");
        input.write_all(text.as_bytes()).expect("it runs");
    }

    fn output(&self) -> String {
        let bytes = std::fs::read(&self.output).expect("its file");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn wait_until(&mut self, what: &str, is_there: impl Fn(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_there(self) {
            assert!(Instant::now() < end, "no {what}: {}", self.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A request over its connection, and the answer.
    fn get(&mut self, path: &str) {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = format!("served GET {path}");
        self.wait_until(&answer, |client| client.output().contains(&answer));
    }

    fn wait_for_end(&mut self) {
        self.wait_until("end", |client| {
            client.child.try_wait().expect("a child").is_some()
        });
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Root, and certificate with key of a workload.
fn identity(uri: &str) -> (String, String) {
    let key = KeyPair::generate().expect("randomness");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).expect("valid").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("randomness");
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("ASCII"))];
    let own = params.signed_by(&key, &issuer).expect("valid").pem();
    (root, own + &key.serialize_pem())
}

fn check(direction: TrafficDirection, is_mutual: bool) {
    let directory = tempfile::tempdir().expect("a folder");
    let origin = Origin::echoing().expect("a port");
    let (root, identity) = identity("spiffe://cluster.local/ns/shop/sa/api");
    let file = directory.path().join("identity.pem");
    std::fs::write(&file, identity).expect("a new file");
    let hop = Hop {
        direction,
        port: free_port().expect("a port"),
        server: origin.port,
        upstream: Upstream::Http1,
        certificate: Some(config::self_signed().expect("randomness")),
        client_root: is_mutual.then_some(root),
        access_log: None,
    };
    let _proxy = Proxy::start(&hop.listener(), &hop.cluster(), hop.port).expect("starts");
    let file = is_mutual.then_some(file);
    let start = |name| Client::start(name, hop.port, file.as_deref(), directory.path());
    let (mut other, mut client) = (start("other"), start("client"));
    other.get("/other");
    client.get("/before");

    let before = refusals();
    client.say("R\n");
    client.wait_for_end();
    let output = client.output();
    assert!(output.contains("no renegotiation"), "{output}");
    assert_eq!(refusals(), before + 1);

    other.get("/undisturbed");
    let asked = origin.received();
    let asked: Vec<_> = asked
        .iter()
        .map(|request| request.target.as_str())
        .collect();
    assert_eq!(asked, ["GET /other", "GET /before", "GET /undisturbed"]);
}

#[test]
fn another_handshake_is_refused() {
    tracing_subscriber::fmt()
        .with_env_filter("ironsail_proxy::conn=debug")
        .with_writer(|| Log)
        .init();
    check(TrafficDirection::Outbound, false);
    check(TrafficDirection::Inbound, true);
}
