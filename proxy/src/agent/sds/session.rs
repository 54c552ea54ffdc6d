//! What a client of secrets has, and what it is sent next. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use ironsail_xds::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use ironsail_xds::ext::transport_sockets::tls::v3::Secret;
use ironsail_xds::{Any, pack, type_url};
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::secret::{CERTIFICATE, ROOTS};

/// Names one client may ask for; more is an abuse.
const MAX_NAMES: usize = 1000;

/// A request of either protocol.
pub struct Asked {
    names: Names,
    /// The text of a refusal.
    error: Option<String>,
}

enum Names {
    /// State of the world: all of them.
    Whole(Vec<String>),
    Delta {
        added: Vec<String>,
        removed: Vec<String>,
        /// Names and versions from before the stream.
        known: BTreeMap<String, String>,
    },
}

impl From<DiscoveryRequest> for Asked {
    fn from(request: DiscoveryRequest) -> Self {
        Self {
            names: Names::Whole(request.resource_names),
            error: request.error_detail.map(|detail| detail.message),
        }
    }
}

impl From<DeltaDiscoveryRequest> for Asked {
    fn from(request: DeltaDiscoveryRequest) -> Self {
        Self {
            names: Names::Delta {
                added: request.resource_names_subscribe,
                removed: request.resource_names_unsubscribe,
                known: request.initial_resource_versions.into_iter().collect(),
            },
            error: request.error_detail.map(|detail| detail.message),
        }
    }
}

/// Secrets to send.
pub struct Answer {
    nonce: String,
    /// Name, version, secret.
    secrets: Vec<(String, String, Any)>,
}

impl From<Answer> for DiscoveryResponse {
    fn from(answer: Answer) -> Self {
        let versions = answer.secrets.iter();
        let versions: Vec<&str> = versions.map(|(_, version, _)| version.as_str()).collect();
        Self {
            version_info: versions.join("-"),
            resources: answer.secrets.into_iter().map(|secret| secret.2).collect(),
            type_url: type_url::SECRET.to_owned(),
            nonce: answer.nonce,
            ..Default::default()
        }
    }
}

impl From<Answer> for DeltaDiscoveryResponse {
    fn from(answer: Answer) -> Self {
        let resource = |(name, version, body)| Resource {
            name,
            version,
            resource: Some(body),
            ..Default::default()
        };
        Self {
            resources: answer.secrets.into_iter().map(resource).collect(),
            type_url: type_url::SECRET.to_owned(),
            nonce: answer.nonce,
            ..Default::default()
        }
    }
}

/// One client.
#[derive(Default)]
pub struct Session {
    names: BTreeSet<String>,
    /// What the client was sent: name and version.
    sent: BTreeMap<String, String>,
    is_delta: bool,
    answers: u64,
}

impl Session {
    /// Takes a request; what follows from it is in the next answer.
    pub fn take(&mut self, asked: Asked) {
        if let Some(error) = asked.error {
            warn!(%error, "Client rejected secrets");
        }
        match asked.names {
            Names::Whole(names) => {
                self.names = names.into_iter().take(MAX_NAMES).collect();
                let names = &self.names;
                self.sent.retain(|name, _| names.contains(name));
            }
            Names::Delta {
                added,
                removed,
                known,
            } => {
                self.is_delta = true;
                // Whoever asks again has lost it.
                self.sent.retain(|name, _| !added.contains(name));
                self.sent.extend(known);
                for name in removed {
                    self.names.remove(&name);
                    self.sent.remove(&name);
                }
                let room = MAX_NAMES.saturating_sub(self.names.len());
                self.names.extend(added.into_iter().take(room));
            }
        }
    }

    /// Whether time may bring something: files change, and absent ones may come. The workload's own certificate is
    /// announced.
    pub fn waits_for_files(&self) -> bool {
        let is_own = |name: &String| [CERTIFICATE, ROOTS].contains(&name.as_str());
        !self.names.iter().all(is_own)
    }

    /// What the client has not; in state of the world all of its secrets, when one of them is new to it.
    pub fn answer(&mut self, read: impl Fn(&str) -> Option<Secret>) -> Option<Answer> {
        let found = self.names.iter().filter_map(|name| {
            let body = pack(&read(name)?);
            let version = format!("{:016x}", xxh3_64(&body.value));
            Some((name.clone(), version, body))
        });
        let mut secrets: Vec<_> = found.collect();
        let is_new = |(name, version, _): &(String, String, Any)| {
            self.sent.get(name).is_none_or(|sent| sent != version)
        };
        if !secrets.iter().any(is_new) {
            return None;
        }
        if self.is_delta {
            secrets.retain(is_new);
        }
        for (name, version, _) in &secrets {
            self.sent.insert(name.clone(), version.clone());
        }
        self.answers += 1;
        Some(Answer {
            nonce: self.answers.to_string(),
            secrets,
        })
    }
}
