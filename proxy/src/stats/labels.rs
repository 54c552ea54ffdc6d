//! Labels of Istio's standard metrics. <https://istio.io/latest/docs/reference/config/metrics/>.

use std::fmt::Write;
use std::sync::Arc;

use crate::peer::PeerMetadata;
use crate::resource::cluster::IstioService;

/// What stands in labels that nothing is known for.
pub const UNKNOWN: &str = "unknown";
/// Longest label value; what is longer is cut, because clients choose some of them.
const MAX_VALUE: usize = 256;

/// Which side of a call reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reporter {
    Source,
    Destination,
}

impl Reporter {
    fn as_str(self) -> &'static str {
        match self {
            Reporter::Source => "source",
            Reporter::Destination => "destination",
        }
    }
}

/// Whom a call is for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Service<'a> {
    /// From the metadata of the cluster.
    pub service: Option<&'a IstioService>,
    /// Name of the cluster, which stands for the service of pass-through traffic.
    pub cluster: &'a str,
    /// Host that was asked for, where it may stand in for an unknown service.
    pub host: Option<&'a str>,
}

/// Facts that all calls between the same two workloads share.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub reporter: Reporter,
    pub peer: Option<&'a PeerMetadata>,
    pub service: Service<'a>,
    pub source_principal: Option<&'a str>,
    pub destination_principal: Option<&'a str>,
    /// The client presented a verified certificate.
    pub mutual_tls: bool,
}

/// A set of labels in Prometheus' text form, without braces: `a="x",b="y"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelText(Arc<str>);

impl From<String> for LabelText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl LabelText {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Builds label texts, leaving out what the configuration removed.
pub(super) struct LabelWriter<'a> {
    text: String,
    removed: &'a [Box<str>],
}

impl<'a> LabelWriter<'a> {
    pub(super) fn new(removed: &'a [Box<str>]) -> Self {
        Self {
            text: String::with_capacity(768),
            removed,
        }
    }

    pub(super) fn add(&mut self, name: &str, value: &str) {
        if self.removed.iter().any(|removed| &**removed == name) {
            return;
        }
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(name);
        self.text.push_str("=\"");
        escape(value, &mut self.text);
        self.text.push('"');
    }

    /// As `add`, with `unknown` for nothing.
    fn known(&mut self, name: &str, value: Option<&str>) {
        let value = value.filter(|value| !value.is_empty());
        self.add(name, value.unwrap_or(UNKNOWN));
    }

    /// The labels of a call, from `reporter` to `destination_cluster`.
    pub(super) fn call(&mut self, call: &Call<'_>, local: &PeerMetadata) {
        let (source, destination) = match call.reporter {
            Reporter::Source => (Some(local), call.peer),
            Reporter::Destination => (call.peer, Some(local)),
        };
        self.add("reporter", call.reporter.as_str());
        self.known("source_workload", source.map(|w| &*w.workload));
        self.known(
            "source_canonical_service",
            source.map(|w| &*w.canonical_name),
        );
        self.add("source_canonical_revision", revision(source));
        self.known("source_workload_namespace", source.map(|w| &*w.namespace));
        self.known("source_principal", call.source_principal);
        self.known("source_app", source.map(|w| &*w.app));
        self.known("source_version", source.map(|w| &*w.version));
        self.known("source_cluster", source.map(|w| &*w.cluster));
        self.known("destination_workload", destination.map(|w| &*w.workload));
        self.known(
            "destination_workload_namespace",
            destination.map(|w| &*w.namespace),
        );
        self.known("destination_principal", call.destination_principal);
        self.known("destination_app", destination.map(|w| &*w.app));
        self.known("destination_version", destination.map(|w| &*w.version));
        let service = &call.service;
        self.known("destination_service", service.host_name());
        self.known(
            "destination_canonical_service",
            destination.map(|w| &*w.canonical_name),
        );
        self.add("destination_canonical_revision", revision(destination));
        self.known("destination_service_name", service.name());
        let namespace = service.service.map(|service| &*service.namespace);
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        self.known(
            "destination_service_namespace",
            namespace.or(destination.map(|w| &*w.namespace)),
        );
        self.known("destination_cluster", destination.map(|w| &*w.cluster));
    }

    /// `connection_security_policy`: only the server's side knows it.
    pub(super) fn security(&mut self, call: &Call<'_>) {
        let policy = match (call.reporter, call.mutual_tls) {
            (Reporter::Source, _) => UNKNOWN,
            (Reporter::Destination, true) => "mutual_tls",
            (Reporter::Destination, false) => "none",
        };
        self.add("connection_security_policy", policy);
    }

    pub(super) fn finish(self) -> LabelText {
        LabelText(self.text.into())
    }
}

fn revision(workload: Option<&PeerMetadata>) -> &str {
    match workload {
        None => UNKNOWN,
        Some(workload) if workload.canonical_revision.is_empty() => "latest",
        Some(workload) => &workload.canonical_revision,
    }
}

impl<'a> Service<'a> {
    fn host_name(&self) -> Option<&'a str> {
        self.service.map(|service| &*service.host).or(self.host)
    }

    fn name(&self) -> Option<&'a str> {
        use ironsail_mesh::xds_name::{
            BLACK_HOLE_CLUSTER, INBOUND_PASSTHROUGH_CLUSTER, PASSTHROUGH_CLUSTER,
        };
        let own = [
            BLACK_HOLE_CLUSTER,
            PASSTHROUGH_CLUSTER,
            INBOUND_PASSTHROUGH_CLUSTER,
        ];
        match self.service {
            Some(service) => Some(&service.name),
            None if own.contains(&self.cluster) => Some(self.cluster),
            None => self.host,
        }
    }
}

/// Appends a label value with backslash, quote and line feed escaped.
pub(super) fn escape(value: &str, out: &mut String) {
    for character in value.chars().take(MAX_VALUE) {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {
                // Writing to memory does not fail.
                let _ = write!(out, "\\\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
}
