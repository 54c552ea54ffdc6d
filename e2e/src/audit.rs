//! The API server's audit log: who wrote what.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// User of the operator's pods.
const OPERATOR: &str = "system:serviceaccount:istio-operator:";

/// A point in the audit log of `$IRONSAIL_AUDIT_LOG`.
pub struct Mark {
    path: PathBuf,
    offset: u64,
}

impl Mark {
    /// The present end of the log; `None`, which is said, on clusters whose log can't be read.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn now() -> anyhow::Result<Option<Self>> {
        let Some(path) = std::env::var_os("IRONSAIL_AUDIT_LOG").map(PathBuf::from) else {
            println!(
                "not looked at: IRONSAIL_AUDIT_LOG is not set, this cluster's audit log cannot be read"
            );
            return Ok(None);
        };
        let offset = fs::metadata(&path)?.len();
        Ok(Some(Self { path, offset }))
    }

    /// What the operator has written since, Lease and dry runs aside: `verb uri`.
    ///
    /// # Errors
    /// The log cannot be read or was rotated.
    pub fn operator_writes(&self) -> anyhow::Result<Vec<String>> {
        writes_since(self, OPERATOR)
    }
}

/// What the operator writes in a time; nothing where the audit log cannot be read.
///
/// # Errors
/// The log cannot be read or was rotated.
pub fn operator_writes_within(time: Duration) -> anyhow::Result<Vec<String>> {
    let Some(mark) = Mark::now()? else {
        return Ok(Vec::new());
    };
    std::thread::sleep(time);
    mark.operator_writes()
}

/// Writes by users whose name contains `user`.
fn writes_since(mark: &Mark, user: &str) -> anyhow::Result<Vec<String>> {
    let log = fs::read(&mark.path)?;
    let new = log
        .get(usize::try_from(mark.offset)?..)
        .ok_or_else(|| anyhow::anyhow!("the audit log was rotated"))?;
    let text = String::from_utf8_lossy(new);
    let events = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut writes: Vec<String> = events
        .filter(|event| {
            is_write(event)
                && event["user"]["username"]
                    .as_str()
                    .is_some_and(|name| name.contains(user))
        })
        .map(|event| {
            format!(
                "{} {}",
                event["verb"].as_str().unwrap_or("?"),
                event["requestURI"].as_str().unwrap_or("?")
            )
        })
        .collect();
    // A request is logged once per stage.
    writes.dedup();
    Ok(writes)
}

fn is_write(event: &Value) -> bool {
    let verb = event["verb"].as_str().unwrap_or_default();
    let uri = event["requestURI"].as_str().unwrap_or_default();
    let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
    matches!(
        verb,
        "create" | "update" | "patch" | "delete" | "deletecollection"
    ) && !uri.contains("dryRun=All")
        && resource != "leases"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_leases_and_dry_runs_are_no_writes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("audit.log");
        let event = |verb: &str, uri: &str, resource: &str| {
            serde_json::json!({"verb": verb, "requestURI": uri, "user": {"username": "sa:operator"},
                "objectRef": {"resource": resource}})
            .to_string()
        };
        let lines = [
            event("get", "/a", "services"),
            event("update", "/b", "leases"),
            event("patch", "/c?dryRun=All&force=true", "services"),
            event("patch", "/d", "services"),
            event("patch", "/d", "services"),
        ];
        fs::write(&path, lines.join("\n")).expect("written");
        let mark = Mark { path, offset: 0 };
        let writes = writes_since(&mark, "operator").expect("readable");
        assert_eq!(writes, ["patch /d"]);
        assert!(writes_since(&mark, "istiod").expect("readable").is_empty());
    }
}
