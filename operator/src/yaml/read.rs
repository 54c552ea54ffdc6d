//! YAML of users, read as `kubectl` reads it: bare `yes`, `no`, `on`, `off`, `y` and `n` are the
//! booleans of version 1.1, also where a library of version 1.2 takes them for text.
//!
//! <https://yaml.org/type/bool.html>

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_yaml_ng::{Deserializer, Mapping, Value as Yaml};

/// The documents of a stream, empty ones left out.
///
/// # Errors
/// The text is no YAML, or has tags that JSON has no place for.
pub fn documents(text: &str) -> Result<Vec<Value>, serde_yaml_ng::Error> {
    let node = Node {
        text,
        is_key: false,
    };
    let mut found = Vec::new();
    for document in Deserializer::from_str(text) {
        let mut value = node.deserialize(document)?;
        value.apply_merge()?;
        let value = serde_json::to_value(&value).map_err(serde_yaml_ng::Error::custom)?;
        if !value.is_null() {
            found.push(value);
        }
    }
    Ok(found)
}

/// The one document of a text; null if it is empty.
///
/// # Errors
/// As [`documents`], or there are several.
pub fn document(text: &str) -> Result<Value, serde_yaml_ng::Error> {
    let mut all = documents(text)?.into_iter();
    match (all.next(), all.next()) {
        (_, Some(_)) => Err(serde_yaml_ng::Error::custom("there are several documents")),
        (first, None) => Ok(first.unwrap_or(Value::Null)),
    }
}

/// What version 1.1 takes a bare word for.
fn boolean(word: &str) -> Option<bool> {
    match word {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A node of a text.
#[derive(Clone, Copy)]
struct Node<'t> {
    text: &'t str,
    /// Keys stay as they are written.
    is_key: bool,
}

impl Node<'_> {
    /// Whether a part of the text stands there without quotes and tags.
    fn is_bare(self, part: &str) -> bool {
        let start = part.as_ptr().addr().checked_sub(self.text.as_ptr().addr());
        let Some(before) = start.and_then(|start| self.text.get(..start)) else {
            return false;
        };
        let words = before.rsplit(char::is_whitespace).filter(|w| !w.is_empty());
        let mut properties = words.take_while(|word| word.starts_with(['&', '!']));
        !before.ends_with(['"', '\'']) && !properties.any(|word| word.starts_with('!'))
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Yaml;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document without tags of its own")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Yaml, E> {
        Ok(match boolean(text) {
            Some(value) if !self.is_key && self.is_bare(text) => value.into(),
            _ => text.into(),
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Yaml, E> {
        Ok(text.into())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Yaml, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Yaml, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Node {
            is_key: false,
            ..self
        })? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Yaml, A::Error> {
        let mut map = Mapping::new();
        while let Some(key) = entries.next_key_seed(Node {
            is_key: true,
            ..self
        })? {
            let value = entries.next_value_seed(Node {
                is_key: false,
                ..self
            })?;
            if map.contains_key(&key) {
                let key = serde_json::to_string(&key).unwrap_or_default();
                return Err(A::Error::custom(format_args!("{key} is there twice")));
            }
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Value) {
        assert_eq!(document(text).expect(text), expected, "{text}");
    }

    #[test]
    fn bare_words_are_booleans() {
        check(
            "a: yes\nb: No\nc: ON\nd: off\ne: y",
            json!({"a": true, "b": false, "c": true, "d": false, "e": true}),
        );
        check("[yes, no , {a: on}]", json!([true, false, {"a": true}]));
        check("- on # comment\n-   off\n", json!([true, false]));
        check("off", json!(false));
        check("a: &x yes\nb: *x", json!({"a": true, "b": true}));
        check(
            "a: &x {b: on}\nc:\n  <<: *x\n  d: 1",
            json!({"a": {"b": true}, "c": {"d": 1, "b": true}}),
        );
        check("\u{feff}a: yes", json!({"a": true}));
    }

    #[test]
    fn what_is_quoted_or_longer_is_text() {
        check(
            "a: \"yes\"\nb: 'no'\nc: yes!\nd: yes no",
            json!({"a": "yes", "b": "no", "c": "yes!", "d": "yes no"}),
        );
        check("[\"on\", 'off',\"y\"]", json!(["on", "off", "y"]));
        check(
            "a: |\n  yes\nb: >-\n  no\n",
            json!({"a": "yes\n", "b": "no"}),
        );
        check(
            "a: !!str yes\nb: !!str &x on\nc: &y !!str off",
            json!({"a": "yes", "b": "on", "c": "off"}),
        );
        check("a: yEs\nb: \"\\u006eo\"", json!({"a": "yEs", "b": "no"}));
    }

    #[test]
    fn keys_stay() {
        check(
            "on: 1\ny: {no: yes}\n? off\n: off",
            json!({"on": 1, "y": {"no": true}, "off": false}),
        );
        check("1: a\ntrue: b", json!({"1": "a", "true": "b"}));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| document(text).expect_err(text).to_string();
        assert!(
            error("a: 1\na: 2").starts_with("\"a\" is there twice"),
            "{}",
            error("a: 1\na: 2")
        );
        assert!(
            error("a: !own b").contains("without tags"),
            "{}",
            error("a: !own b")
        );
        assert!(error("a: 1\n---\nb: 2").contains("several"));
        assert_eq!(
            documents("---\n---\na: 1\n---\n").expect("a stream"),
            [json!({"a": 1})]
        );
    }

    proptest! {
        #[test]
        fn what_the_writer_wrote_reads_the_same(document in super::super::tests::document()) {
            let text = crate::yaml::to_string(&document);
            prop_assert_eq!(super::document(&text).expect(&text), document, "{}", text);
        }

        #[test]
        fn everything_else_is_as_version_1_2_reads_it(text in "[-a-z:,0-9{}\\[\\]\"'# \n]{0,40}") {
            let (Ok(ours), Ok(theirs)) = (document(&text), serde_yaml_ng::from_str::<Value>(&text)) else {
                return Ok(());
            };
            if !words(&theirs).iter().any(|word| boolean(word).is_some()) {
                prop_assert_eq!(ours, theirs);
            }
        }
    }

    fn words(value: &Value) -> Vec<String> {
        match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(items) => items.iter().flat_map(words).collect(),
            Value::Object(map) => map.values().flat_map(words).collect(),
            _ => Vec::new(),
        }
    }
}
