//! `validate`: files with configuration, before a cluster sees them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args;
use ironsail_analysis::document;
use ironsail_crds::Diagnostic;
use ironsail_crds::kind::ISTIO_OPERATOR;
use ironsail_operator::{Context, render_object};
use serde_json::Value;

use crate::cluster::ClusterFlags;
use crate::exit::{self, Code};
use crate::input;

/// Files of a folder that are looked at.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

#[derive(Args)]
pub struct Flags {
    /// File or folder with YAML or JSON; - reads standard input. Can be given several times.
    #[arg(
        short,
        long,
        required = true,
        value_delimiter = ',',
        value_name = "PATH"
    )]
    filename: Vec<PathBuf>,
    /// Accepted for scripts; has no effect.
    #[arg(short = 'x', long, hide = true)]
    referential: bool,
}

impl Flags {
    pub fn run(self, cluster: &ClusterFlags) -> anyhow::Result<Code> {
        let own = cluster.istio_namespace();
        let mut errors = Vec::new();
        let mut unreadable = false;
        for path in files(&self.filename)? {
            let name = path.display().to_string();
            match check(&path, own) {
                Ok(findings) => {
                    print!("{}", report(&name, &findings));
                    let wrong = findings.iter().filter(|finding| finding.what.is_error());
                    errors.extend(wrong.map(|finding| format!("{name:?}: {finding}")));
                }
                Err(error) => {
                    unreadable |= exit::code(&error) == Code::Data;
                    errors.push(format!("{name:?}: {}", exit::text(&error)));
                }
            }
        }
        match errors.is_empty() {
            true => Ok(Code::Ok),
            false if unreadable => Err(exit::data(summary(&errors))),
            false => Err(anyhow!(summary(&errors))),
        }
    }
}

/// A finding and the object that it is about.
struct Finding {
    /// `Kind namespace/name`.
    object: String,
    what: Diagnostic,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.object, self.what)
    }
}

/// The files that are meant: folders are walked, in the order of their names.
fn files(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in given {
        match path.is_dir() {
            true => walk(path, &mut found)?,
            false => found.push(path.clone()),
        }
    }
    Ok(found)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let failed = || folder.display().to_string();
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        entries.push(entry.with_context(failed)?.path());
    }
    entries.sort();
    for path in entries {
        let extension = path.extension().and_then(|extension| extension.to_str());
        // A link to a folder could lead back to where it is.
        if path.is_dir() && !path.is_symlink() {
            walk(&path, found)?;
        } else if path.is_file() && extension.is_some_and(|own| EXTENSIONS.contains(&own)) {
            found.push(path);
        }
    }
    Ok(())
}

fn check(path: &Path, control_plane: &str) -> anyhow::Result<Vec<Finding>> {
    let mut found = Vec::new();
    for document in input::documents(&input::read(path)?)? {
        for object in document::objects(&document) {
            let name = name(object);
            found.extend(
                judge(object, control_plane)
                    .into_iter()
                    .map(|what| Finding {
                        object: name.clone(),
                        what,
                    }),
            );
        }
    }
    Ok(found)
}

/// An IstioOperator is rendered, as the operator's webhook does it; the rest is the control plane's.
fn judge(object: &Value, control_plane: &str) -> Vec<Diagnostic> {
    let found = document::check(object, control_plane);
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let group = text("apiVersion").split('/').next().unwrap_or_default();
    if (group, text("kind")) != (ISTIO_OPERATOR.group, ISTIO_OPERATOR.kind)
        || found.iter().any(Diagnostic::is_error)
    {
        return found;
    }
    match render_object(object, &Context::default()) {
        Ok(rendered) => rendered.warnings,
        Err(findings) => findings,
    }
}

/// `Kind namespace/name`, as much of it as there is.
fn name(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let mut name = text("/kind").unwrap_or("document").to_owned();
    if let Some(own) = text("/metadata/name").or(text("/metadata/generateName")) {
        name.push(' ');
        if let Some(namespace) = text("/metadata/namespace") {
            name.push_str(namespace);
            name.push('/');
        }
        name.push_str(own);
    }
    name
}

/// What there is to say about a file besides errors.
fn report(file: &str, findings: &[Finding]) -> String {
    let warnings = findings.iter().filter(|finding| !finding.what.is_error());
    let warnings: Vec<String> = warnings.map(|warning| format!("\t* {warning}\n")).collect();
    let valid = warnings.len() == findings.len();
    match (valid, warnings.is_empty()) {
        (true, true) => format!("{file:?} is valid\n"),
        (_, false) => format!("{file:?} has warnings:\n{}", warnings.concat()),
        (false, true) => String::new(),
    }
}

/// All errors in the form of the peer's tools.
fn summary(errors: &[String]) -> String {
    let count = match errors.len() {
        1 => "1 error".to_owned(),
        more => format!("{more} errors"),
    };
    let mut text = format!("{count} occurred:");
    for error in errors {
        // Writing to a String can't fail.
        let _ = write!(text, "\n\t* {error}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
        metadata: {name: a, namespace: shop}\nspec:\n  hosts: [a]\n  http: [{route: [{destination: {host: a}}]}]\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        folder
    }

    fn run(folder: &tempfile::TempDir) -> (Code, String) {
        let flags = Flags {
            filename: vec![folder.path().to_owned()],
            referential: false,
        };
        match flags.run(&ClusterFlags::default()) {
            Ok(code) => (code, String::new()),
            Err(error) => {
                let own = format!("{}/", folder.path().display());
                (exit::code(&error), exit::text(&error).replace(&own, ""))
            }
        }
    }

    fn reported(text: &str) -> String {
        let folder = folder(&[("a.yaml", text)]);
        let findings = check(&folder.path().join("a.yaml"), "istio-system").expect("readable");
        report("a.yaml", &findings)
    }

    #[test]
    fn valid_files() {
        let list = "{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": []}";
        let files = [
            ("a.yaml", ROUTE),
            ("b/c.json", list),
            ("b/d.yml", "kind: A\napiVersion: v1\n---\n"),
            ("notes.txt", "kind: ["),
        ];
        assert_eq!(run(&folder(&files)), (Code::Ok, String::new()));
        assert_eq!(reported(ROUTE), "\"a.yaml\" is valid\n");
    }

    #[test]
    fn errors_of_all_files_are_collected() {
        let bad = ROUTE.replace("hosts: [a]", "hosts: [\"-\"]");
        let two = format!("{bad}---\n{bad}");
        let error = "VirtualService shop/a: spec.hosts[0]: host \"-\" is no DNS name: \"-\" is no label of one";
        assert_eq!(
            run(&folder(&[
                ("a.yaml", &bad),
                ("b.yaml", ROUTE),
                ("c.yaml", &two)
            ])),
            (
                Code::Failure,
                format!(
                    "3 errors occurred:\n\t* \"a.yaml\": {error}\n\t* \"c.yaml\": {error}\n\t* \"c.yaml\": {error}"
                )
            )
        );
        assert_eq!(reported(&bad), "");
    }

    #[test]
    fn what_is_no_yaml_does_not_hide_the_rest() {
        let bad = ROUTE.replace("hosts: [a]", "hosts: [\"-\"]");
        let (code, text) = run(&folder(&[("a.yaml", "a: ["), ("b.yaml", &bad)]));
        assert_eq!(code, Code::Data);
        assert!(
            text.starts_with("2 errors occurred:\n\t* \"a.yaml\": "),
            "{text}"
        );
        assert!(
            text.contains("\t* \"b.yaml\": VirtualService shop/a: "),
            "{text}"
        );
        let flags = Flags {
            filename: vec!["/nowhere/at/all".into()],
            referential: false,
        };
        let error = flags.run(&ClusterFlags::default()).expect_err("no file");
        assert_eq!(exit::code(&error), Code::Failure);
    }

    #[test]
    fn unknown_fields_are_warnings_with_a_guess() {
        let text = ROUTE.replace("hosts:", "host: b\n  hosts:");
        assert_eq!(
            reported(&text),
            "\"a.yaml\" has warnings:\n\t* VirtualService shop/a: spec.host: unknown field has no effect; did you mean hosts?\n"
        );
    }

    #[test]
    fn operators_are_rendered() {
        let operator = |spec: &str| {
            let text = format!(
                "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {{name: mesh}}\nspec: {spec}\n"
            );
            run(&folder(&[("a.yaml", &text)]))
        };
        assert_eq!(operator("{profile: demo}"), (Code::Ok, String::new()));
        let (code, text) = operator("{hubb: a}");
        assert_eq!(code, Code::Failure);
        assert!(
            text.contains("IstioOperator mesh: spec.hubb: unknown field"),
            "{text}"
        );
        let (_, text) = operator("{values: {global: {nonsense: true}}}");
        assert!(text.contains("spec.values.global.nonsense"), "{text}");
    }

    #[test]
    fn services_declare_protocols() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, name: web}]}\n";
        let (code, text) = run(&folder(&[("a.yaml", text)]));
        assert_eq!(code, Code::Failure);
        assert!(
            text.contains("Service a: spec.ports[0].name: \"web\""),
            "{text}"
        );
    }
}
