//! Objects that come, go and change, for people.

use ironsail_operator::plan::fields::FieldChange;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::style::{Paint, Style};

const INDENT: &str = "    ";
/// Lines around a difference in a longer text.
const CONTEXT: usize = 2;

/// `+ title`.
pub fn added(title: &str, style: Style) -> String {
    style.paint(Paint::Good, &format!("+ {title}")) + "\n"
}

/// `- title`.
pub fn removed(title: &str, style: Style) -> String {
    style.paint(Paint::Bad, &format!("- {title}")) + "\n"
}

/// `~ title`, and the fields below it.
pub fn changed(title: &str, fields: &[FieldChange], style: Style) -> String {
    let mut text = style.paint(Paint::Changed, &format!("~ {title}")) + "\n";
    for change in fields {
        text.push_str(&field(change, style));
    }
    text
}

fn field(change: &FieldChange, style: Style) -> String {
    let path = &change.path;
    let line = |paint: Paint, text: String| format!("{INDENT}{}\n", style.paint(paint, &text));
    match (&change.before, &change.after) {
        (Some(Value::String(before)), Some(Value::String(after)))
            if before.contains('\n') || after.contains('\n') =>
        {
            format!("{INDENT}{path}:\n{}", lines(before, after, style))
        }
        (Some(before), Some(after)) => {
            format!("{INDENT}{path}: {} -> {}\n", short(before), short(after))
        }
        (None, Some(after)) => line(Paint::Good, format!("+ {path}: {}", short(after))),
        (Some(before), None) => line(Paint::Bad, format!("- {path}: {}", short(before))),
        (None, None) => String::new(),
    }
}

/// A text of several lines: those that differ, and some around them.
fn lines(before: &str, after: &str, style: Style) -> String {
    let diff = TextDiff::from_lines(before, after);
    let mut text = String::new();
    for group in diff.grouped_ops(CONTEXT) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = change.value().trim_end_matches('\n');
            let line = match change.tag() {
                ChangeTag::Equal => format!("  {line}"),
                ChangeTag::Delete => style.paint(Paint::Bad, &format!("- {line}")),
                ChangeTag::Insert => style.paint(Paint::Good, &format!("+ {line}")),
            };
            text.push_str(&format!("{INDENT}{INDENT}{line}\n"));
        }
    }
    text
}

/// A value on one line, as YAML has it.
pub fn short(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(short).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}: {}", short(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ironsail_operator::plan::fields::differences;
    use serde_json::json;

    use super::*;

    #[test]
    fn long_texts_are_compared_by_line() {
        let before = json!({"data": {"mesh": "a: 1\nb: 2\nc: 3\nd: 4\ne: 5\n"}});
        let after = json!({"data": {"mesh": "a: 1\nb: 2\nc: 3\nd: 4\ne: 6\n"}});
        let text = changed(
            "ConfigMap istio",
            &differences(&before, &after),
            Style::default(),
        );
        assert_eq!(
            text,
            "~ ConfigMap istio\n    data.mesh:\n          c: 3\n          d: 4\n        - e: 5\n        + e: 6\n"
        );
    }
}
