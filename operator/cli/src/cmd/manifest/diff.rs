//! `manifest diff`: two manifests, object by object and field by field.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use ironsail_operator::plan::fields::differences;
use ironsail_operator::value::text;
use serde_json::Value;

use crate::exit::{self, Code};
use crate::input;
use crate::output::changes;
use crate::output::style::Style;

#[derive(Args)]
pub struct Flags {
    /// File, or folder with -r.
    before: PathBuf,
    /// File, or folder with -r.
    after: PathBuf,
    /// Compare all .yaml files of two folders.
    #[arg(short = 'r', long)]
    directory: bool,
    /// Only these objects: kind:namespace:name,…; * stands for any text.
    #[arg(long, value_delimiter = ',', value_name = "OBJECTS")]
    select: Vec<String>,
    /// All but these objects.
    #[arg(long, value_delimiter = ',', value_name = "OBJECTS")]
    ignore: Vec<String>,
    /// Objects of the first manifest that have another name in the second: A->B,…
    #[arg(long, value_delimiter = ',', value_name = "OBJECTS")]
    rename: Vec<String>,
    /// Accepted for scripts; the output has every field.
    #[arg(short, long, hide = true)]
    verbose: bool,
}

/// Kind, namespace, name.
type Name = [String; 3];
type Objects = BTreeMap<Name, Value>;

impl Flags {
    pub fn run(&self) -> anyhow::Result<Code> {
        let (before, after) = (self.load(&self.before)?, self.load(&self.after)?);
        let text = self.compare(before, after, Style::of_stdout())?;
        if text.is_empty() {
            println!("Manifests are identical");
            return Ok(Code::Ok);
        }
        print!("Differences in manifests are:\n{text}");
        Ok(Code::Failure)
    }

    fn load(&self, path: &Path) -> anyhow::Result<Objects> {
        let mut objects = Objects::new();
        for file in self.files(path)? {
            let documents = input::documents(&input::read(&file)?);
            for document in documents.with_context(|| file.display().to_string())? {
                objects.insert(name(&document), document);
            }
        }
        Ok(objects)
    }

    fn files(&self, path: &Path) -> anyhow::Result<Vec<PathBuf>> {
        if !self.directory {
            return Ok(vec![path.to_owned()]);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn compare(&self, before: Objects, after: Objects, style: Style) -> anyhow::Result<String> {
        let renames = self
            .rename
            .iter()
            .map(|pair| rename(pair))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let wanted = |name: &Name| {
            (self.select.is_empty() || self.select.iter().any(|pattern| matches(pattern, name)))
                && !self.ignore.iter().any(|pattern| matches(pattern, name))
        };
        let renamed = before.into_iter().map(|(name, object)| {
            let rule = renames.iter().find(|(from, _)| matches(from, &name));
            (
                rule.map_or(name.clone(), |(_, to)| filled(to, &name)),
                object,
            )
        });
        let before: Objects = renamed.filter(|(name, _)| wanted(name)).collect();
        let after: Objects = after.into_iter().filter(|(name, _)| wanted(name)).collect();
        let mut text = String::new();
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            text.push_str(&changes::removed(&title(name), style));
        }
        for (name, object) in &after {
            match before.get(name) {
                None => text.push_str(&changes::added(&title(name), style)),
                Some(old) => {
                    let fields = differences(&unnamed(old), &unnamed(object));
                    if !fields.is_empty() {
                        text.push_str(&changes::changed(&title(name), &fields, style));
                    }
                }
            }
        }
        Ok(text)
    }
}

fn name(object: &Value) -> Name {
    [
        &["kind"][..],
        &["metadata", "namespace"],
        &["metadata", "name"],
    ]
    .map(|path| text(object, path).unwrap_or_default().to_owned())
}

/// What is compared: a renamed object has another name, and that is no difference.
fn unnamed(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("name");
        metadata.shift_remove("namespace");
    }
    object
}

fn title([kind, namespace, name]: &Name) -> String {
    match namespace.as_str() {
        "" => format!("{kind} {name}"),
        namespace => format!("{kind} {namespace}/{name}"),
    }
}

/// Whether `kind:namespace:name` names an object; an absent or empty part is any.
fn matches(pattern: &str, name: &Name) -> bool {
    let parts = pattern.split(':').chain(std::iter::repeat("*"));
    parts
        .zip(name)
        .all(|(part, text)| part.is_empty() || glob(part, text))
}

/// `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(tail) = text.strip_prefix(head) else {
        return false;
    };
    (0..=tail.len())
        .filter(|at| tail.is_char_boundary(*at))
        .any(|at| glob(rest, &tail[at..]))
}

fn rename(pair: &str) -> anyhow::Result<(String, String)> {
    let (from, to) = pair
        .split_once("->")
        .ok_or_else(|| exit::usage(format!("--rename: {pair:?} should be A->B")))?;
    Ok((from.to_owned(), to.to_owned()))
}

/// A name with the parts that a rule leaves open taken from the old one.
fn filled(rule: &str, old: &Name) -> Name {
    let mut parts = rule.split(':');
    old.clone().map(|old| match parts.next() {
        None | Some("" | "*") => old,
        Some(part) => part.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "kind: Service\nmetadata: {name: istio-pilot, namespace: istio-system}\n\
        spec: {type: ClusterIP, ports: [{port: 80, name: http}]}\n---\nkind: ConfigMap\nmetadata: {name: old}\n";
    const AFTER: &str = "kind: Service\nmetadata: {name: istiod, namespace: istio-system}\n\
        spec: {type: LoadBalancer, ports: [{port: 80, name: http2}]}\n---\nkind: ConfigMap\nmetadata: {name: new}\n";

    #[track_caller]
    fn compared(change: impl FnOnce(&mut Flags)) -> String {
        let mut flags = Flags {
            before: PathBuf::new(),
            after: PathBuf::new(),
            directory: false,
            select: Vec::new(),
            ignore: Vec::new(),
            rename: Vec::new(),
            verbose: false,
        };
        change(&mut flags);
        let objects = |text: &str| -> Objects {
            let documents = input::documents(text).expect("YAML");
            documents
                .into_iter()
                .map(|object| (name(&object), object))
                .collect()
        };
        flags
            .compare(objects(BEFORE), objects(AFTER), Style::default())
            .expect("valid rules")
    }

    #[test]
    fn objects_are_compared_by_name() {
        insta::assert_snapshot!(compared(|_| {}), @r"
        - ConfigMap old
        - Service istio-system/istio-pilot
        + ConfigMap new
        + Service istio-system/istiod
        ");
        let renamed = compared(|flags| {
            flags.rename = vec!["Service:*:istio-pilot->Service:*:istiod".to_owned()];
            flags.ignore = vec!["ConfigMap".to_owned()];
        });
        insta::assert_snapshot!(renamed, @r"
        ~ Service istio-system/istiod
            spec.type: ClusterIP -> LoadBalancer
            + spec.ports[name=http2]: {port: 80, name: http2}
            - spec.ports[name=http]: {port: 80, name: http}
        ");
        assert_eq!(
            compared(|flags| flags.select = vec!["Deployment::".to_owned()]),
            ""
        );
    }

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("istio-*", "istio-x", true),
            ("istio-*", "istiod", false),
            ("*gate*", "ingressgateway", true),
            ("a", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
