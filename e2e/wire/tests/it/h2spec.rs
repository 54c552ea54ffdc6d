//! Conformance to HTTP/2, as h2spec sees it, of our listeners and of Envoy's with the same configuration.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use ironsail_peer::{Program, find, free_port};
use ironsail_wire::{Hop, Proxy, Upstream, config, origin::Origin, peer};
use ironsail_xds::core::TrafficDirection;

/// Seconds that h2spec waits for what does not come.
const PATIENCE: &str = "2";
/// A body for the cases of flow control.
const BODY: &str = "Something to be sent in small pieces.";

/// Cases that fail, by section and text.
fn failures(h2spec: &Path, port: u16, tls: bool, directory: &Path) -> BTreeSet<String> {
    let report = directory.join(format!("{port}.xml"));
    let mut command = Command::new(h2spec);
    command
        .args(["--port", &port.to_string(), "--timeout", PATIENCE])
        .arg("--junit-report")
        .arg(&report);
    if tls {
        command.args(["--tls", "--insecure"]);
    }
    let output = command.output().expect("h2spec starts");
    let report = std::fs::read_to_string(&report).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stdout));
    });
    let cases: Vec<&str> = report.split("<testcase ").skip(1).collect();
    assert!(cases.len() > 140, "only {} cases were run", cases.len());
    let failed = cases.iter().filter(|case| {
        let text = case.split("</testcase>").next().unwrap_or_default();
        text.contains("<failure") || text.contains("<error")
    });
    failed.map(|case| title(case)).collect()
}

/// `http2/6.9.2 Sends a SETTINGS frame …`
fn title(case: &str) -> String {
    let attribute = |name: &str| {
        let (_, rest) = case.split_once(&format!("{name}=\"")).unwrap_or_default();
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    format!("{} {}", attribute("package"), attribute("classname"))
}

/// Cases that must fail in plaintext, and why.
const PLAINTEXT: [&str; 1] = [
    // A port that takes both protocols reads anything but the preface as HTTP/1, and answers 400 before it closes.
    "http2/3.5 Sends invalid connection preface",
];

/// A listener before a server that answers everything.
struct Setup {
    directory: tempfile::TempDir,
    origin: Origin,
    direction: TrafficDirection,
    certificate: Option<(String, String)>,
}

impl Setup {
    fn new(direction: TrafficDirection, tls: bool) -> Self {
        Self {
            directory: tempfile::tempdir().expect("a folder"),
            origin: Origin::start(BODY).expect("a port"),
            direction,
            certificate: tls.then(|| config::self_signed().expect("randomness")),
        }
    }

    fn hop(&self) -> Hop<'_> {
        Hop {
            direction: self.direction,
            port: free_port().expect("a port"),
            server: self.origin.port,
            upstream: Upstream::Http1,
            certificate: self.certificate.clone(),
            client_root: None,
            access_log: None,
        }
    }

    fn failures(&self, h2spec: &Path, hop: &Hop<'_>) -> BTreeSet<String> {
        failures(
            h2spec,
            hop.port,
            hop.certificate.is_some(),
            self.directory.path(),
        )
    }

    fn of_ours(&self, h2spec: &Path) -> BTreeSet<String> {
        let hop = self.hop();
        let _proxy = Proxy::start(&hop.listener(), &hop.cluster(), hop.port).expect("starts");
        self.failures(h2spec, &hop)
    }

    fn of_envoy(&self, h2spec: &Path) -> BTreeSet<String> {
        let hop = self.hop();
        let _envoy = peer::envoy(&hop, self.directory.path()).expect("starts");
        self.failures(h2spec, &hop)
    }
}

#[test]
fn every_case_passes() {
    let h2spec = find(Program::H2spec).expect("fetched");
    let listeners = [
        (TrafficDirection::Outbound, false),
        (TrafficDirection::Inbound, false),
        (TrafficDirection::Outbound, true),
        (TrafficDirection::Inbound, true),
    ];
    std::thread::scope(|scope| {
        for (direction, tls) in listeners {
            let h2spec = &h2spec;
            scope.spawn(move || {
                let expected: &[&str] = if tls { &[] } else { &PLAINTEXT };
                let failed = Setup::new(direction, tls).of_ours(h2spec);
                assert!(
                    failed.iter().eq(expected),
                    "{direction:?}, TLS {tls}: {failed:#?}"
                );
            });
        }
    });
}

/// Takes a minute, because Envoy lets cases wait.
#[test]
#[ignore = "make soak runs it"]
fn envoy_passes_nothing_that_we_fail() {
    let h2spec = find(Program::H2spec).expect("fetched");
    let setup = Setup::new(TrafficDirection::Outbound, false);
    let (ours, envoys) = (setup.of_ours(&h2spec), setup.of_envoy(&h2spec));
    eprintln!("We fail {ours:#?}, Envoy fails {envoys:#?}");
    assert!(ours.is_subset(&envoys), "{ours:#?}");
}
