//! Merged metrics: the agent scrapes the application and answers for both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Variable of the proxy that says how the application wants to be scraped.
pub(crate) const VARIABLE: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";
const MERGED_PATH: &str = "/stats/prometheus";

/// What the pod's annotations ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Scrape {
    pub scrape: String,
    pub path: String,
    pub port: String,
}

impl Scrape {
    /// Annotations `prometheus.io/scrape|path|port`, in any of the spellings that scrape configurations know.
    pub fn of(annotations: &BTreeMap<String, String>) -> Self {
        let find = |part: &str| {
            annotations
                .iter()
                .find(|(key, _)| is_about(key, part))
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        Self {
            scrape: find("scrape"),
            path: find("path"),
            port: find("port"),
        }
    }

    pub fn is_wanted(&self) -> bool {
        !matches!(
            self.scrape.as_str(),
            "false" | "False" | "FALSE" | "f" | "F" | "0"
        )
    }

    /// Already pointing at the agent.
    pub fn is_merged(&self, status_port: u16) -> bool {
        self.port == status_port.to_string()
    }

    /// The proxy's variable; `None` when the application asks for nothing.
    pub fn variable(&self) -> Option<Value> {
        if *self == Self::default() {
            return None;
        }
        let text = json!({"scrape": self.scrape, "path": self.path, "port": self.port}).to_string();
        Some(json!({"name": VARIABLE, "value": text}))
    }

    /// Writes the annotations that say this; empty parts are left out.
    pub fn write(&self, annotations: &mut Map<String, Value>) {
        clear(annotations);
        for (key, value) in [
            ("prometheus.io/scrape", &self.scrape),
            ("prometheus.io/path", &self.path),
            ("prometheus.io/port", &self.port),
        ] {
            if !value.is_empty() {
                annotations.insert(key.to_owned(), Value::String(value.clone()));
            }
        }
    }
}

/// What annotations say once metrics are merged.
pub(crate) fn merged(status_port: u16) -> Scrape {
    Scrape {
        scrape: "true".to_owned(),
        path: MERGED_PATH.to_owned(),
        port: status_port.to_string(),
    }
}

/// Removes every spelling: a scraper would pick any of them.
pub(crate) fn clear(annotations: &mut Map<String, Value>) {
    annotations.retain(|key, _| {
        !["scrape", "path", "port"]
            .iter()
            .any(|part| is_about(key, part))
    });
}

/// `prometheus.io/<part>` with any of `/`, `.`, `-`, `_` between its words.
fn is_about(key: &str, part: &str) -> bool {
    let words = key.split(['/', '.', '-', '_']);
    words.eq(["prometheus", "io", part])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read_and_cleared() {
        let annotations = BTreeMap::from([
            ("prometheus.io.port".to_owned(), "8080".to_owned()),
            ("prometheus-io_path".to_owned(), "/m".to_owned()),
            ("prometheus.io/scheme".to_owned(), "https".to_owned()),
        ]);
        let scrape = Scrape::of(&annotations);
        assert_eq!((scrape.port.as_str(), scrape.path.as_str()), ("8080", "/m"));
        let mut map: Map<String, Value> = annotations
            .into_iter()
            .map(|(key, value)| (key, Value::String(value)))
            .collect();
        clear(&mut map);
        assert_eq!(map.keys().collect::<Vec<_>>(), ["prometheus.io/scheme"]);
    }
}
