use proptest::prelude::*;
use serde_json::{Value, json};

use super::patch;
use super::path::{Path, Segment};

#[track_caller]
fn patched(document: Value, path: &str, value: Value) -> Result<Value, String> {
    let path = Path::parse(path).map_err(|error| error.to_string())?;
    let mut document = document;
    patch::apply(&mut document, &path, &value).map_err(|error| error.to_string())?;
    Ok(document)
}

#[track_caller]
fn check(name: &str, document: Value, path: &str, value: Value, expected: Value) {
    assert_eq!(patched(document, path, value), Ok(expected), "{name}");
}

#[test]
fn writes() {
    let containers = || json!({"c": [{"name": "a", "args": ["x"]}, {"name": "b"}]});
    check("a key", json!({"a": 1}), "a", json!(2), json!({"a": 2}));
    check(
        "missing maps are made",
        json!({}),
        "a.b",
        json!(2),
        json!({"a": {"b": 2}}),
    );
    check(
        "an escaped dot",
        json!({}),
        r"a.x\.y",
        json!(1),
        json!({"a": {"x.y": 1}}),
    );
    check(
        "an item by key",
        containers(),
        "c.[name:b].image",
        json!("i"),
        json!({"c": [{"name": "a", "args": ["x"]}, {"name": "b", "image": "i"}]}),
    );
    check(
        "a selector without its dot, a dot inside of brackets",
        json!({"c": [{"k": "a.b"}]}),
        "c[k:a.b].x",
        json!(1),
        json!({"c": [{"k": "a.b", "x": 1}]}),
    );
    check(
        "an index",
        json!({"l": [1, 2]}),
        "l.[1]",
        json!(3),
        json!({"l": [1, 3]}),
    );
    check(
        "append",
        json!({"l": [1]}),
        "l.[-1]",
        json!(2),
        json!({"l": [1, 2]}),
    );
    check(
        "append past the end",
        json!({"l": [1]}),
        "l.[9]",
        json!(2),
        json!({"l": [1, 2]}),
    );
    check(
        "append to a list that is missing",
        json!({}),
        "l.[0].x",
        json!(2),
        json!({"l": [{"x": 2}]}),
    );
    check(
        "the first text that matches",
        json!({"args": ["--level=1", "--other"]}),
        "args.[--level=.*]",
        json!("--level=2"),
        json!({"args": ["--level=2", "--other"]}),
    );
    check(
        "an escaped colon",
        json!({"args": ["--level=a:b"]}),
        r"args.[--level=a\:b]",
        json!("x"),
        json!({"args": ["x"]}),
    );
    check(
        "a colon in a text",
        json!({"args": ["--other", "--level=a:b"]}),
        "args.[--level=a:b]",
        json!("x"),
        json!({"args": ["--other", "x"]}),
    );
    check(
        "a colon in a text among objects",
        json!({"l": [{"k": "v"}, "k:v"]}),
        "l.[k:v]",
        json!("x"),
        json!({"l": ["x", "k:v"]}),
    );
    check(
        "a leading and a trailing dot",
        json!({}),
        ".a.b.",
        json!(1),
        json!({"a": {"b": 1}}),
    );
    check(
        "a number is told apart by its text",
        json!({"ports": [{"port": 80}, {"port": 443}]}),
        "ports.[port:443].nodePort",
        json!(30443),
        json!({"ports": [{"port": 80}, {"port": 443, "nodePort": 30443}]}),
    );
    check(
        "a slash in a key",
        json!({"annotations": {}}),
        r"annotations.example\.com/x",
        json!("y"),
        json!({"annotations": {"example.com/x": "y"}}),
    );
    check(
        "an item is replaced as a whole",
        json!({"l": [{"n": 1, "a": 2}]}),
        "l.[n:1]",
        json!({"n": 3}),
        json!({"l": [{"n": 3}]}),
    );
    check(
        "a list is replaced",
        json!({"l": [1]}),
        "l",
        json!([2]),
        json!({"l": [2]}),
    );
}

#[test]
fn text_that_is_a_mapping_is_read() {
    check(
        "a line",
        json!({}),
        "a",
        json!("b: 1"),
        json!({"a": {"b": 1}}),
    );
    check(
        "lines",
        json!({}),
        "a",
        json!("b:\n  c: 1\n"),
        json!({"a": {"b": {"c": 1}}}),
    );
    check(
        "JSON stays",
        json!({}),
        "a",
        json!("{\"b\": 1}"),
        json!({"a": "{\"b\": 1}"}),
    );
    check(
        "an address stays",
        json!({}),
        "a",
        json!("host:80"),
        json!({"a": "host:80"}),
    );
}

#[test]
fn deletes() {
    check(
        "a key",
        json!({"a": 1, "b": 2}),
        "a",
        Value::Null,
        json!({"b": 2}),
    );
    check(
        "an item",
        json!({"l": [{"n": 1}, {"n": 2}]}),
        "l.[n:1]",
        Value::Null,
        json!({"l": [{"n": 2}]}),
    );
}

#[test]
fn says_why_a_path_leads_nowhere() {
    let fails = |document, path, value| patched(document, path, value).expect_err(path);
    assert_eq!(
        fails(json!({"l": []}), "l.[name:x].y", json!(1)),
        "[name:x] matches no item"
    );
    assert_eq!(
        fails(json!({"l": [{"a": "x"}]}), "l.[x]", json!(1)),
        "[:x] matches no item"
    );
    assert_eq!(
        fails(json!({"a": {}}), "a.[name:x]", json!(1)),
        "[name:x] is used on what is no list"
    );
    assert_eq!(
        fails(json!({"a": 1}), "a.b", json!(1)),
        "b is used on what is no object"
    );
    assert_eq!(fails(json!({}), "a", Value::Null), "a is not there");
    assert_eq!(fails(json!({}), "", json!(1)), "the path is empty");
    assert_eq!(
        fails(json!({}), "a.[b", json!(1)),
        "\"a.[b\" has no closing bracket"
    );
    assert_eq!(fails(json!({}), "a.[]", json!(1)), "\"[]\" selects nothing");
    assert_eq!(
        fails(json!({}), "a.[(]", json!(1)),
        "\"(\" is no regular expression"
    );
}

fn segment() -> impl Strategy<Value = Segment> {
    prop_oneof![
        r"[a-z.\[/\\]{1,6}".prop_map(Segment::Key),
        (-1_i64..20).prop_map(Segment::Index),
        ("[a-z.]{1,4}", r"[a-z:.\]]{1,6}").prop_map(|(key, value)| Segment::Item { key, value }),
        r"[a-z:=-]{1,6}".prop_map(Segment::Matches),
    ]
}

proptest! {
    #[test]
    fn what_is_printed_reads_the_same(segments in prop::collection::vec(segment(), 1..5)) {
        let path = Path(segments);
        prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,40}") {
        if let Ok(path) = Path::parse(&text) {
            prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
        }
    }
}
