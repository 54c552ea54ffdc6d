//! Variables of the process and files of the pod, so that tests can give others.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::BootstrapError;

const LABELS: &str = "./etc/istio/pod/labels";
const ANNOTATIONS: &str = "./etc/istio/pod/annotations";

/// Where facts of the pod come from.
#[derive(Clone, Debug)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// What relative paths start from; `/` in pods.
    root: PathBuf,
}

impl Environment {
    /// Of this process.
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars().collect(),
            root: PathBuf::from("."),
        }
    }

    /// Of given variables and files below `root`.
    pub fn new(variables: BTreeMap<String, String>, root: PathBuf) -> Self {
        Self { variables, root }
    }

    /// A variable; empty ones count as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub fn required(&self, name: &'static str) -> Result<&str, BootstrapError> {
        self.get(name).ok_or(BootstrapError::Missing { name })
    }

    /// `true`, `1` and their like; what is neither true nor false counts as the default.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).and_then(boolean).unwrap_or(default)
    }

    /// The same for what must not be misunderstood; default false.
    ///
    /// # Errors
    /// The value is neither true nor false.
    pub fn switch(&self, name: &'static str) -> Result<bool, BootstrapError> {
        let Some(text) = self.get(name) else {
            return Ok(false);
        };
        boolean(text).ok_or_else(|| BootstrapError::Value {
            name: name.to_owned(),
            value: text.to_owned(),
            expected: "true or false",
        })
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn file(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path.trim_start_matches("./"))).ok()
    }

    pub fn labels(&self) -> BTreeMap<String, String> {
        downward(&self.file(LABELS).unwrap_or_default())
    }

    pub fn annotations(&self) -> BTreeMap<String, String> {
        downward(&self.file(ANNOTATIONS).unwrap_or_default())
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "t" | "TRUE" | "True" => Some(true),
        "false" | "0" | "f" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Lines of the downward API: `key="value"`, the value quoted as in Go.
fn downward(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let (key, quoted) = line.split_once('=')?;
            // Go's quoting is JSON's for what Kubernetes writes here, \x.. and \a aside.
            let value = serde_json::from_str(quoted)
                .unwrap_or_else(|_| quoted.trim_matches('"').to_owned());
            Some((key.to_owned(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downward_files_are_unquoted() {
        let text = "app=\"reviews\"\nnote=\"a \\\"b\\\"\\nc\"\nbroken\n";
        let map = downward(text);
        assert_eq!(map["app"], "reviews");
        assert_eq!(map["note"], "a \"b\"\nc");
        assert_eq!(map.len(), 2);
    }
}
