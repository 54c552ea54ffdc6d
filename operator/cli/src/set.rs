//! `--set path=value`: one setting of a spec.
//!
//! The path's keys are separated by dots; `\.` is a dot in a key. `[N]` behind a key is an item of
//! a list, or a new one at its end; `[key:value]` is the item whose key has that value. The value
//! is a boolean or a number where it looks like one, else text; `\,` is a comma.

use serde_json::{Map, Value};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Item(usize),
    Named(String, String),
}

/// A parsed setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    path: Vec<Segment>,
    value: Value,
}

/// What is wrong with a setting.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("{0:?} has no =; it should be path=value")]
    NoValue(String),
    #[error("{path:?}: {what}")]
    Path { path: String, what: &'static str },
    #[error("{at} is no {wanted}")]
    Kind { at: String, wanted: &'static str },
    #[error("{at}: there is no item {item}")]
    NoItem { at: String, item: String },
}

impl Setting {
    /// Reads `path=value`.
    ///
    /// # Errors
    /// The text is no path and value.
    pub fn parse(text: &str) -> Result<Self, SetError> {
        let (path, value) = text
            .split_once('=')
            .ok_or_else(|| SetError::NoValue(text.to_owned()))?;
        let (path, value) = (path.trim(), value.trim());
        let segments = segments(path).map_err(|what| SetError::Path {
            path: path.to_owned(),
            what,
        })?;
        Ok(Self {
            value: parse_value(&segments, value),
            path: segments,
        })
    }

    /// Lays the setting over a spec.
    ///
    /// # Errors
    /// Something else than a map or list stands in the way, or a named item is not there.
    pub fn apply(&self, spec: &mut Value) -> Result<(), SetError> {
        write(spec, &self.path, &self.value, "spec")
    }
}

fn segments(path: &str) -> Result<Vec<Segment>, &'static str> {
    let mut found = Vec::new();
    let mut key = String::new();
    let mut after_item = false;
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => key.push(chars.next().ok_or("a backslash ends it")?),
            '.' if key.is_empty() && after_item => after_item = false,
            '.' => found.push(Segment::Key(take(&mut key)?)),
            '[' => {
                if !key.is_empty() {
                    found.push(Segment::Key(take(&mut key)?));
                }
                let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                found.push(item(&inside)?);
                after_item = true;
            }
            _ if after_item => return Err("a dot must follow a bracket"),
            c => key.push(c),
        }
    }
    if !key.is_empty() || !after_item {
        found.push(Segment::Key(take(&mut key)?));
    }
    match found.first() {
        Some(Segment::Key(_)) => Ok(found),
        _ => Err("it must begin with a key"),
    }
}

fn take(key: &mut String) -> Result<String, &'static str> {
    match key.is_empty() {
        true => Err("a key is empty"),
        false => Ok(std::mem::take(key)),
    }
}

fn item(inside: &str) -> Result<Segment, &'static str> {
    if let Some((key, value)) = inside.split_once(':') {
        return Ok(Segment::Named(key.to_owned(), value.to_owned()));
    }
    let index = inside
        .parse()
        .map_err(|_| "brackets hold an index or key:value")?;
    Ok(Segment::Item(index))
}

/// Fields whose values are text whatever they look like: a number would lose digits.
fn is_text(path: &[Segment]) -> bool {
    let keys: Vec<&str> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Key(key) => Some(key.as_str()),
            Segment::Item(_) | Segment::Named(..) => None,
        })
        .collect();
    let last = keys.last().copied().unwrap_or_default();
    ["tag", "compatibilityVersion"].contains(&last) || keys.contains(&"proxyMetadata")
}

fn parse_value(path: &[Segment], text: &str) -> Value {
    let plain = || Value::String(text.replace("\\,", ","));
    if is_text(path) {
        return plain();
    }
    let number = || text.parse::<i64>().map(Value::from).ok();
    let fraction = || {
        text.parse::<f64>()
            .ok()
            .filter(|n| n.is_finite())
            .map(Value::from)
    };
    match text {
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        text if text
            .starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+' || c == '.') =>
        {
            number().or_else(fraction).unwrap_or_else(plain)
        }
        _ => plain(),
    }
}

fn write(target: &mut Value, path: &[Segment], value: &Value, at: &str) -> Result<(), SetError> {
    let Some((first, rest)) = path.split_first() else {
        *target = value.clone();
        return Ok(());
    };
    match first {
        Segment::Key(key) => {
            let map = map(target).ok_or_else(|| kind(at, "map"))?;
            let child = map.entry(key.clone()).or_insert(Value::Null);
            write(child, rest, value, &format!("{at}.{key}"))
        }
        Segment::Item(index) => {
            let list = list(target).ok_or_else(|| kind(at, "list"))?;
            let at = format!("{at}[{index}]");
            match list.get_mut(*index) {
                Some(item) => write(item, rest, value, &at),
                None => {
                    let mut item = Value::Null;
                    write(&mut item, rest, value, &at)?;
                    list.push(item);
                    Ok(())
                }
            }
        }
        Segment::Named(key, name) => {
            let list = list(target).ok_or_else(|| kind(at, "list"))?;
            let named = list
                .iter_mut()
                .find(|item| item.get(key).and_then(Value::as_str) == Some(name));
            let item = format!("[{key}:{name}]");
            match named {
                Some(found) => write(found, rest, value, &format!("{at}{item}")),
                None => Err(SetError::NoItem {
                    at: at.to_owned(),
                    item,
                }),
            }
        }
    }
}

fn kind(at: &str, wanted: &'static str) -> SetError {
    SetError::Kind {
        at: at.to_owned(),
        wanted,
    }
}

/// The map; what is absent becomes one.
fn map(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

fn list(value: &mut Value) -> Option<&mut Vec<Value>> {
    if value.is_null() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(settings: &[&str], expected: Value) {
        let mut spec = json!({});
        for setting in settings {
            Setting::parse(setting)
                .expect(setting)
                .apply(&mut spec)
                .expect(setting);
        }
        assert_eq!(spec, expected, "{settings:?}");
    }

    #[test]
    fn settings() {
        check(&["profile=demo"], json!({"profile": "demo"}));
        check(
            &[
                "values.pilot.traceSampling=0.5",
                "values.pilot.autoscaleEnabled=false",
            ],
            json!({"values": {"pilot": {"traceSampling": 0.5, "autoscaleEnabled": false}}}),
        );
        check(&["a.b\\.c/d=x"], json!({"a": {"b.c/d": "x"}}));
        check(
            &["l[0].a=1", "l[0].b=2", "l[1].a=3", "l.[1].c=4"],
            json!({"l": [{"a": 1, "b": 2}, {"a": 3, "c": 4}]}),
        );
        check(&["l[5]=a", "l[5]=b"], json!({"l": ["a", "b"]}));
        check(
            &["l[0].name=x", "l[name:x].enabled=true"],
            json!({"l": [{"name": "x", "enabled": true}]}),
        );
        check(
            &["tag=1.10", "compatibilityVersion=1.30"],
            json!({"tag": "1.10", "compatibilityVersion": "1.30"}),
        );
        check(&["revision=1"], json!({"revision": 1}));
        check(
            &["meshConfig.defaultConfig.proxyMetadata.A=true"],
            json!({"meshConfig": {"defaultConfig": {"proxyMetadata": {"A": "true"}}}}),
        );
        check(
            &["a=x\\,y", "b=c=d", "c="],
            json!({"a": "x,y", "b": "c=d", "c": ""}),
        );
        check(
            &["ip=10.0.0.1", "when=1e400", "name=nan"],
            json!({"ip": "10.0.0.1", "when": "1e400", "name": "nan"}),
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        let parsed = |text: &str| Setting::parse(text).expect_err(text).to_string();
        assert_eq!(
            parsed("profile"),
            "\"profile\" has no =; it should be path=value"
        );
        assert_eq!(parsed("a..b=1"), "\"a..b\": a key is empty");
        assert_eq!(parsed("[0]=1"), "\"[0]\": it must begin with a key");
        assert_eq!(
            parsed("a[x]=1"),
            "\"a[x]\": brackets hold an index or key:value"
        );
        assert_eq!(parsed("a[0]b=1"), "\"a[0]b\": a dot must follow a bracket");
        let applied = |text: &str| {
            let mut spec = json!({"a": "text", "l": [{"name": "x"}]});
            Setting::parse(text)
                .expect(text)
                .apply(&mut spec)
                .expect_err(text)
                .to_string()
        };
        assert_eq!(applied("a.b=1"), "spec.a is no map");
        assert_eq!(applied("a[0]=1"), "spec.a is no list");
        assert_eq!(
            applied("l[name:y].z=1"),
            "spec.l: there is no item [name:y]"
        );
    }

    proptest! {
        /// What is set at a path of keys is read there, and nothing else is touched.
        #[test]
        fn a_setting_is_where_its_path_says(
            keys in prop::collection::vec("[a-z./=\\[\\]-]{1,6}".prop_filter("= ends a path", |k| !k.contains('=')), 1..5),
            value in "[a-z ]{1,8}",
        ) {
            let escaped: Vec<String> = keys
                .iter()
                .map(|key| key.chars().flat_map(|c| ['\\', c]).collect())
                .collect();
            let setting = Setting::parse(&format!("{}={value}", escaped.join("."))).expect("escaped");
            let mut spec = json!({"Untouched": 1});
            setting.apply(&mut spec).expect("maps");
            let found = keys.iter().try_fold(&spec, |at, key| at.get(key));
            let text = value.trim();
            let expected = match text {
                "true" => json!(true),
                "false" => json!(false),
                text => json!(text),
            };
            let expected = if keys.last().is_some_and(|k| k == "tag") { json!(text) } else { expected };
            prop_assert_eq!(found, Some(&expected));
            prop_assert_eq!(&spec["Untouched"], &json!(1));
        }

        #[test]
        fn nothing_makes_the_parser_panic(text in ".{0,40}") {
            let _ = Setting::parse(&text).map(|setting| setting.apply(&mut json!({})));
        }
    }
}
