//! Whatever is sent: validation answers, twice the same, and every path leads somewhere.

use std::cell::Cell;

use ironsail_crds::Kind;
use ironsail_crds::kind::KINDS;
use proptest::prelude::{Strategy, any, prop};
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::versions::samples;

/// Objects that are tried, over all kinds.
const OBJECTS: u32 = 10_000;

/// A change at some place of a document.
#[derive(Clone, Debug)]
enum Change {
    Remove,
    Rename(String),
    Replace(Value),
    Repeat,
    Nest(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let odd = prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("*"),
        json!("unix://"),
        json!("é\u{0}\u{2028}{*}/"),
        json!("[[(("),
        json!("1h1h"),
        json!([]),
        json!([null, {}, [], "a"]),
        json!({}),
        json!({"": {}, "a/b": null}),
    ]);
    prop::strategy::Union::new([
        prop::strategy::Just(Change::Remove).boxed(),
        "[a-zA-Z_.]{0,6}".prop_map(Change::Rename).boxed(),
        odd.prop_map(Change::Replace).boxed(),
        "\\PC{0,12}"
            .prop_map(|text| Change::Replace(text.into()))
            .boxed(),
        prop::strategy::Just(Change::Repeat).boxed(),
        (1..40usize).prop_map(Change::Nest).boxed(),
    ])
}

/// Every place of a document, as JSON pointers.
fn places(value: &Value, path: &str, found: &mut Vec<String>) {
    let step = |key: &str| format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                found.push(step(key));
                places(inner, &step(key), found);
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                let path = format!("{path}/{index}");
                found.push(path.clone());
                places(inner, &path, found);
            }
        }
        _ => {}
    }
}

fn apply(document: &mut Value, at: &Index, change: Change) {
    let mut all = Vec::new();
    places(document, "", &mut all);
    if all.is_empty() {
        return;
    }
    let path = at.get(&all);
    let (parent, key) = path.rsplit_once('/').expect("pointers begin with a slash");
    let key = key.replace("~1", "/").replace("~0", "~");
    match (change, document.pointer_mut(parent)) {
        (Change::Remove, Some(Value::Object(map))) => drop(map.remove(&key)),
        (Change::Rename(name), Some(Value::Object(map))) => {
            if let Some(value) = map.remove(&key) {
                map.insert(name, value);
            }
        }
        (Change::Repeat, Some(Value::Array(list))) => {
            let again = list.clone();
            list.extend(again);
        }
        (Change::Nest(depth), _) => {
            if let Some(place) = document.pointer_mut(path) {
                for _ in 0..depth {
                    *place = json!([place.take()]);
                }
            }
        }
        (Change::Replace(value), _) => {
            if let Some(place) = document.pointer_mut(path) {
                *place = value;
            }
        }
        _ => {}
    }
}

fn check(kind: &Kind, document: &Value) {
    let findings = kind.validate(document);
    assert_eq!(findings, kind.validate(document), "{document}");
    for finding in findings {
        assert!(!finding.message.is_empty(), "{finding:?} about {document}");
        let top = finding.path.split(['.', '[']).next().unwrap_or_default();
        let known = ["", "apiVersion", "kind", "metadata", "spec", "status"];
        assert!(
            known.contains(&top) || document.get(top).is_some() || finding.path.starts_with('['),
            "{finding:?} about {document}"
        );
    }
}

#[test]
fn changed_objects_are_answered() {
    let samples = samples();
    let count = u32::try_from(samples.len()).expect("few samples");
    let (tried, changed) = (Cell::new(0), Cell::new(0));
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(OBJECTS.div_ceil(count))
    };
    for sample in samples {
        let kind = Kind::find(
            sample["apiVersion"]
                .as_str()
                .and_then(|version| version.split('/').next())
                .expect("a group"),
            sample["kind"].as_str().expect("a kind"),
        )
        .expect("samples are of known kinds");
        let changes = prop::collection::vec((any::<Index>(), change()), 1..4);
        // A runner counts over all its runs.
        let mut runner = TestRunner::new(config.clone());
        let result = runner.run(&changes, |changes| {
            let mut document = sample.clone();
            for (at, change) in changes {
                apply(&mut document, &at, change);
            }
            check(kind, &document);
            tried.set(tried.get() + 1);
            changed.set(changed.get() + u32::from(document != sample));
            Ok(())
        });
        result.expect("validation answers");
    }
    assert!(tried.get() >= OBJECTS, "{}", tried.get());
    assert!(changed.get() > OBJECTS / 2, "{}", changed.get());
}

#[test]
fn what_is_no_object_is_answered() {
    for kind in KINDS {
        for document in [
            json!(null),
            json!([]),
            json!("a"),
            json!({}),
            json!({"spec": []}),
        ] {
            check(kind, &document);
            assert_eq!(
                kind.validate(&json!({"kind": "Other", "spec": {}}))
                    .first()
                    .map(|finding| finding.path.as_str()),
                Some("kind")
            );
        }
    }
}
