//! `deploy/monitoring`.

use std::collections::BTreeSet;

use regex::Regex;

use super::*;

/// What Prometheus makes itself.
const OF_PROMETHEUS: [&str; 1] = ["ALERTS"];

fn read(name: &str) -> String {
    let path = deploy().join("monitoring").join(name);
    std::fs::read_to_string(path).expect(name)
}

/// Expressions of the rules and of the dashboard.
fn expressions() -> Vec<String> {
    let rules: Value = serde_yaml_ng::from_str(&read("rules.yaml")).expect("YAML");
    let dashboard: Value = serde_json::from_str(&read("ironsail.json")).expect("JSON");
    let mut found = Vec::new();
    collect(&rules, &mut found);
    collect(&dashboard, &mut found);
    assert!(found.len() > 20);
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("expr", Value::String(text)) => found.push(text.clone()),
                    _ => collect(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// Names of metrics in an expression: what has an underscore and is neither a label nor a function.
fn metrics(expression: &str) -> BTreeSet<String> {
    let pattern = |text: &str| Regex::new(text).expect("a pattern");
    let text = pattern(r"\{[^}]*\}").replace_all(expression, "");
    let text = pattern(r"\b(by|on|without|ignoring|group_left|group_right) *\([^)]*\)")
        .replace_all(&text, "");
    let names = pattern(r"\b([a-z]+_[a-z_]+)\b( *\()?");
    names
        .captures_iter(&text)
        .filter(|found| found.get(2).is_none())
        .map(|found| found[1].to_owned())
        .collect()
}

/// Names that the programs register, as their sources have them: a registry shows a family only once it has values.
fn known() -> BTreeSet<String> {
    let literal = Regex::new(r#""([a-z]+(?:_[a-z]+)*)""#).expect("a pattern");
    let names = |text: &str, prefix: &str| -> Vec<String> {
        let found = literal.captures_iter(text);
        found
            .map(|found| format!("{prefix}{}", &found[1]))
            .collect()
    };
    let root = deploy().join("..");
    let operator = std::fs::read_to_string(root.join("operator/src/metrics.rs")).expect("readable");
    let mut known = BTreeSet::from(["process_resident_memory_bytes".to_owned()]);
    known.extend(names(&operator, "istio_install_operator_"));
    for folder in ["controlplane/src", "proxy/src"] {
        for text in sources(&root.join(folder)) {
            known.extend(names(&text, ""));
        }
    }
    known
}

fn sources(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => std::fs::read_to_string(&path).into_iter().collect(),
        })
        .collect()
}

#[test]
fn every_metric_is_one_that_a_program_has() {
    let known = known();
    for expression in expressions() {
        let found = metrics(&expression);
        assert!(!found.is_empty(), "{expression}");
        for name in found {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let is_known = known.contains(&name)
                || base.is_some_and(|base| known.contains(base))
                || OF_PROMETHEUS.contains(&name.as_str());
            assert!(is_known, "{name} in {expression}");
        }
    }
}

#[test]
fn names_are_found_in_expressions() {
    let found = metrics(
        r#"sum by (le_x) (rate(a_bucket{b_c="d_e"}[5m])) and on () min_over_time(f_g[1m])"#,
    );
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a_bucket", "f_g"]);
}

#[test]
fn alerts_say_what_and_how_bad() {
    let rules: Value = serde_yaml_ng::from_str(&read("rules.yaml")).expect("YAML");
    for group in rules["groups"].as_array().expect("a list") {
        for rule in group["rules"].as_array().expect("a list") {
            let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
            assert!(
                ["info", "warning", "critical"].contains(&severity),
                "{rule}"
            );
            for name in ["summary", "description"] {
                assert!(rule["annotations"][name].is_string(), "{rule}");
            }
        }
    }
}

#[test]
fn the_object_has_the_rules() {
    let object: Value = serde_yaml_ng::from_str(&read("prometheus-rule.yaml")).expect("YAML");
    let rules: Value = serde_yaml_ng::from_str(&read("rules.yaml")).expect("YAML");
    assert_eq!(object["spec"], rules);
}

#[test]
fn rules_alert_when_they_should() {
    let Some(promtool) = tool("promtool") else {
        return;
    };
    succeed(run(
        &promtool,
        ["test", "rules", "monitoring/rules-test.yaml"],
    ));
}

#[test]
fn prometheus_understands_all_expressions() {
    let Some(promtool) = tool("promtool") else {
        return;
    };
    let rules: Vec<Value> = expressions()
        .iter()
        // Grafana replaces its variables before it asks.
        .map(|expression| expression.replace("$reporter", "x").replace("$service", "x"))
        .enumerate()
        .map(|(index, expression)| serde_json::json!({"record": format!("r{index}"), "expr": expression}))
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = serde_json::json!({"groups": [{"name": "all", "rules": rules}]}).to_string();
    std::fs::write(file.path(), text).expect("written");
    succeed(run(
        &promtool,
        [
            OsStr::new("check"),
            OsStr::new("rules"),
            file.path().as_os_str(),
        ],
    ));
}
