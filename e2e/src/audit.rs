//! The API server's audit log: who wrote what.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// Path of the audit log, `$IRONSAIL_AUDIT_LOG`; absent on clusters that are not ours.
pub fn path() -> Option<PathBuf> {
    std::env::var_os("IRONSAIL_AUDIT_LOG").map(PathBuf::from)
}

/// Where the log ends now.
///
/// # Errors
/// It cannot be read.
pub fn mark(path: &PathBuf) -> anyhow::Result<u64> {
    Ok(fs::metadata(path)?.len())
}

/// Writes since `mark` by users whose name contains `user`, Lease and dry runs aside: `verb uri`.
///
/// # Errors
/// The log cannot be read or was rotated.
pub fn writes_since(path: &PathBuf, mark: u64, user: &str) -> anyhow::Result<Vec<String>> {
    let log = fs::read(path)?;
    let new = log
        .get(usize::try_from(mark)?..)
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
        let writes = writes_since(&path, 0, "operator").expect("readable");
        assert_eq!(writes, ["patch /d"]);
        assert!(
            writes_since(&path, 0, "istiod")
                .expect("readable")
                .is_empty()
        );
    }
}
