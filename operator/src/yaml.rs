//! YAML of users, and YAML that every reader reads the same.
//!
//! Readers of version 1.1, which kubectl and istiod have, take a bare `y`, `on` or `1_000` for a boolean or a number;
//! writers of version 1.2 leave such text bare. Here it is quoted.

mod read;

use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

pub use read::{document, documents};

/// Text that a reader of version 1.1 takes for something else, beside what version 1.2 does.
static AMBIGUOUS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^(?i:y|n|yes|no|on|off|=|<<|[-+]?[0-9.][0-9_.:]*|[-+]?0[bxo][0-9a-f_]+|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*)$";
    Regex::new(pattern).expect("a test reads the expression")
});

/// The document as YAML, with a line feed at its end.
pub fn to_string(document: &Value) -> String {
    let mut text = String::new();
    match document {
        Value::Object(fields) if !fields.is_empty() => write_fields(fields, 0, &mut text),
        Value::Array(items) if !items.is_empty() => write_items(items, 0, &mut text),
        scalar => write_scalar(scalar, 0, &mut text),
    }
    text
}

fn write_fields(fields: &Map<String, Value>, indent: usize, text: &mut String) {
    for (index, (key, value)) in fields.iter().enumerate() {
        if index > 0 {
            push_indent(indent, text);
        }
        text.push_str(&bare_or_quoted(key));
        text.push(':');
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                text.push('\n');
                push_indent(indent + 2, text);
                write_fields(fields, indent + 2, text);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                push_indent(indent, text);
                write_items(items, indent, text);
            }
            scalar => {
                text.push(' ');
                write_scalar(scalar, indent, text);
            }
        }
    }
}

fn write_items(items: &[Value], indent: usize, text: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            push_indent(indent, text);
        }
        text.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => write_fields(fields, indent + 2, text),
            Value::Array(items) if !items.is_empty() => write_items(items, indent + 2, text),
            scalar => write_scalar(scalar, indent, text),
        }
    }
}

/// A value on the rest of the line; text of many lines follows as a block.
fn write_scalar(value: &Value, indent: usize, text: &mut String) {
    let Value::String(own) = value else {
        // Empty objects and lists too: JSON is YAML.
        let _ = writeln!(text, "{value}");
        return;
    };
    let written = plain(own);
    let mut lines = written.lines();
    let _ = writeln!(text, "{}", lines.next().unwrap_or_default());
    for line in lines {
        if !line.is_empty() {
            push_indent(indent, text);
            text.push_str(line);
        }
        text.push('\n');
    }
}

fn push_indent(indent: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
}

/// A key, which stays on one line.
fn bare_or_quoted(key: &str) -> String {
    match key.contains('\n') {
        true => quoted(key),
        false => plain(key).trim_end_matches('\n').to_owned(),
    }
}

/// Text as the writer of version 1.2 has it, or quoted; more lines than one are a block.
fn plain(text: &str) -> String {
    let written = serde_yaml_ng::to_string(text).unwrap_or_default();
    // A block's indentation follows from its first line, which must not have its own.
    let indented = written.starts_with('|') && text.starts_with(char::is_whitespace);
    let bare = written.trim_end_matches('\n') == text;
    match (bare && AMBIGUOUS.is_match(text)) || indented || text.contains(BREAKS) {
        true => quoted(text),
        false => written,
    }
}

/// What one version takes for the end of a line, or for nothing that may stand in a text.
const BREAKS: [char; 5] = ['\u{7f}', '\u{85}', '\u{2028}', '\u{2029}', '\u{feff}'];

/// Text in double quotes, on one line.
fn quoted(text: &str) -> String {
    let mut quoted = Value::from(text).to_string();
    for special in BREAKS {
        quoted = quoted.replace(special, &format!("\\u{:04x}", u32::from(special)));
    }
    quoted
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn text_that_looks_like_something_else_is_quoted() {
        for text in [
            "y",
            "N",
            "yes",
            "No",
            "on",
            "OFF",
            "1_000",
            "12_3.4",
            "1:30",
            "=",
            "<<",
            "2001-01-01",
            "0o17",
            "1.",
            "true",
            "~",
            "",
        ] {
            let written = to_string(&json!({ "k": text }));
            assert!(
                written.starts_with("k: '") || written.starts_with("k: \""),
                "{written}"
            );
        }
        for text in ["yes!", "a", "10.0.0.0/8", "1.32.0-x", "on call", "2Gi"] {
            assert_eq!(to_string(&json!({ "k": text })), format!("k: {text}\n"));
        }
        assert_eq!(to_string(&json!({"on": {"y": 1}})), "\"on\":\n  \"y\": 1\n");
    }

    #[test]
    fn shapes() {
        let document = json!({
            "a": {"b": [1, {"c": "x", "d": []}, ["y", ["z"]]], "e": {}},
            "t": "one\n  two\n\nthree\n", "u": "x\ny", "z": null,
        });
        let expected = "a:\n  b:\n  - 1\n  - c: x\n    d: []\n  - - \"y\"\n    - - z\n  e: {}\nt: |\n  one\n    two\n\n  three\nu: |-\n  x\n  y\nz: null\n";
        assert_eq!(to_string(&document), expected);
    }

    pub fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~\\n\\t\u{e9}\u{2028}]{0,12}".prop_map(Value::from),
            "[0-9yneofs_.:-]{1,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ -~\\n]{0,6}", inner, 0..4)
                    .prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(document in document()) {
            let text = to_string(&document);
            let read: Value = serde_yaml_ng::from_str(&text).expect(&text);
            prop_assert_eq!(read, document, "{}", text);
        }
    }
}
