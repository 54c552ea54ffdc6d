//! The IstioOperator that files and flags describe.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use ironsail_crds::Diagnostic;
use ironsail_crds::kind::ISTIO_OPERATOR;
use ironsail_operator::plan::Owner;
use ironsail_operator::value::{merge, set, text};
use ironsail_operator::{Context, Rendered, render_object, render_unchecked, yaml};
use serde_json::{Value, json};

use crate::cluster::ClusterFlags;
use crate::exit;
use crate::set::Setting;

/// Where the IstioOperators of the operator are.
const NAMESPACE: &str = "istio-system";
/// Owner of what is installed without a name.
const UNNAMED: &str = "installed-state";

/// Which spec a command is about.
#[derive(Args, Clone, Debug, Default)]
pub struct SpecFlags {
    /// File with an IstioOperator; - reads standard input. Several are merged, the last one wins.
    #[arg(short, long, value_delimiter = ',', value_name = "FILE")]
    pub filename: Vec<PathBuf>,
    /// A setting of the spec, such as profile=demo or values.pilot.traceSampling=10; wins over files.
    #[arg(short, long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Revision of the control plane.
    #[arg(short, long)]
    pub revision: Option<String>,
    /// Accepted for scripts; charts and profiles are built in.
    #[arg(short = 'd', long, hide = true, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
}

/// Images that are used unless the spec names others. For the same plan as the operator's, they
/// must be those that it is configured with.
#[derive(Args, Clone, Debug, Default)]
pub struct ImageFlags {
    /// Registry and path of the images.
    #[arg(long, env = "HUB")]
    pub hub: Option<String>,
    /// Tag of the images.
    #[arg(long, env = "TAG")]
    pub tag: Option<String>,
}

impl ImageFlags {
    /// What to render with, on no cluster.
    pub fn context(&self) -> Context {
        let default = Context::default();
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Context {
            hub: given(&self.hub).unwrap_or(default.hub),
            tag: given(&self.tag).unwrap_or(default.tag),
            ..default
        }
    }
}

impl SpecFlags {
    /// The merged IstioOperator.
    ///
    /// # Errors
    /// A file can't be read or understood, a setting is none.
    pub fn object(&self) -> anyhow::Result<Value> {
        if self.manifests.is_some() {
            eprintln!("Warning: --manifests has no effect: charts and profiles are built in");
        }
        let mut object = json!({
            "apiVersion": format!("{}/{}", ISTIO_OPERATOR.group, ISTIO_OPERATOR.storage),
            "kind": ISTIO_OPERATOR.kind,
            "metadata": {}, "spec": {},
        });
        for path in &self.filename {
            let name = path.display().to_string();
            merge(&mut object, &operator_of(&read(path)?).context(name)?);
        }
        let described = object["spec"]["revision"].clone();
        for setting in &self.set {
            let setting =
                Setting::parse(setting).map_err(|error| exit::usage(format!("--set {error}")))?;
            setting
                .apply(&mut object["spec"])
                .map_err(|error| exit::usage(format!("--set: {error}")))?;
        }
        if let Some(revision) = &self.revision {
            set(&mut object, &["spec", "revision"], json!(revision));
        }
        // Another revision than the file's stands beside the file's own.
        let revision = text(&object, &["spec", "revision"]).map(str::to_owned);
        if let (Some(revision), Some(name)) = (revision, text(&object, &["metadata", "name"]))
            && described != json!(revision)
        {
            let name = format!("{name}-{revision}");
            set(&mut object, &["metadata", "name"], json!(name));
        }
        Ok(object)
    }
}

/// The text of a file.
///
/// # Errors
/// It can't be read.
pub fn read(path: &Path) -> anyhow::Result<String> {
    if path.as_os_str() != "-" {
        return std::fs::read_to_string(path).with_context(|| path.display().to_string());
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("standard input")?;
    Ok(text)
}

/// The documents of a YAML stream of a user, empty ones left out.
///
/// # Errors
/// The text is no YAML.
pub fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    yaml::documents(text).map_err(|error| exit::data(error.to_string()))
}

/// The one IstioOperator of a file, without its status.
fn operator_of(text: &str) -> anyhow::Result<Value> {
    let documents = documents(text)?;
    for document in &documents {
        let of = |key: &str| {
            document
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        if of("kind") != ISTIO_OPERATOR.kind {
            let message = format!("{:?} is no {}", of("kind"), ISTIO_OPERATOR.kind);
            return Err(exit::data(message));
        }
    }
    let mut documents = documents.into_iter();
    let (Some(mut object), None) = (documents.next(), documents.next()) else {
        let message = "a file must have exactly one IstioOperator; several files are merged";
        return Err(exit::data(message));
    };
    if let Some(object) = object.as_object_mut() {
        object.shift_remove("status");
        if object.get("spec").is_some_and(Value::is_null) {
            object.shift_remove("spec");
        }
    }
    Ok(object)
}

/// The owner that an object's metadata names: as the operator labels what it applies for it.
pub fn owner(object: &Value, cluster: &ClusterFlags) -> Owner {
    let revision = text(object, &["spec", "revision"]);
    let unnamed = || match revision {
        Some(revision) => format!("{UNNAMED}-{revision}"),
        None => UNNAMED.to_owned(),
    };
    let namespace = text(object, &["metadata", "namespace"]).or(cluster.namespace.as_deref());
    Owner {
        namespace: namespace.unwrap_or(NAMESPACE).to_owned(),
        name: text(object, &["metadata", "name"]).map_or_else(unnamed, str::to_owned),
    }
}

/// What is done about errors in a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    Enforce,
    /// Flag `--force`: errors of validation become warnings.
    Warn,
}

/// Renders an object; warnings go to standard error.
///
/// # Errors
/// Everything that is wrong with the object.
pub fn rendered(
    object: &Value,
    context: &Context,
    validation: Validation,
) -> anyhow::Result<Rendered> {
    let findings = match render_object(object, context) {
        Ok(rendered) => {
            warn(&rendered.warnings);
            return Ok(rendered);
        }
        Err(findings) => findings,
    };
    if validation == Validation::Enforce {
        return Err(refused(&findings));
    }
    warn(&findings);
    render_unchecked(object, context).map_err(|findings| refused(&findings))
}

/// Prints findings to standard error.
pub fn warn(findings: &[Diagnostic]) {
    for finding in findings {
        eprintln!("Warning: {finding}");
    }
}

/// The error that findings are.
pub fn refused(findings: &[Diagnostic]) -> anyhow::Error {
    let errors = findings.iter().filter(|finding| finding.is_error());
    let errors: Vec<String> = errors.map(ToString::to_string).collect();
    anyhow!("{}", errors.join("\n"))
}

/// Writes a file into a folder, which is made if it is not there.
///
/// # Errors
/// The folder can't be made or the file not be written.
pub fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    if folder.is_file() {
        bail!("{} is a file", folder.display());
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(files: &[&str], settings: &[&str]) -> (tempfile::TempDir, SpecFlags) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut flags = SpecFlags {
            set: settings.iter().map(|text| (*text).to_owned()).collect(),
            ..SpecFlags::default()
        };
        for (index, text) in files.iter().enumerate() {
            let path = folder.path().join(format!("{index}.yaml"));
            std::fs::write(&path, text).expect("written");
            flags.filename.push(path);
        }
        (folder, flags)
    }

    #[track_caller]
    fn refusal(files: &[&str], settings: &[&str]) -> (exit::Code, String) {
        let (_folder, flags) = flags(files, settings);
        let error = flags.object().expect_err("refused");
        (exit::code(&error), exit::text(&error))
    }

    const DEMO: &str = "kind: IstioOperator\nmetadata: {name: mesh, namespace: ops}\n\
        spec: {profile: demo, components: {ingressGateways: [{name: a}, {name: b}]}}\nstatus: {status: HEALTHY}\n";

    #[test]
    fn later_files_and_settings_win() {
        let over = "# comment\n---\nkind: IstioOperator\nspec:\n  hub: own\n  components: {ingressGateways: [{name: c}]}\n---\n";
        let (_folder, flags) = flags(&[DEMO, over], &["profile=minimal"]);
        let object = flags.object().expect("valid");
        assert_eq!(
            object["spec"],
            json!({
                "profile": "minimal", "components": {"ingressGateways": [{"name": "c"}]}, "hub": "own",
            })
        );
        assert_eq!(object.get("status"), None);
        let owner = owner(&object, &ClusterFlags::default());
        assert_eq!(owner.to_string(), "ops/mesh");
    }

    #[test]
    fn what_has_no_name_is_the_installed_state() {
        let owner = |object: Value| owner(&object, &ClusterFlags::default()).to_string();
        assert_eq!(owner(json!({})), "istio-system/installed-state");
        assert_eq!(
            owner(json!({"spec": {"revision": "canary"}})),
            "istio-system/installed-state-canary"
        );
    }

    #[test]
    fn a_revision_by_flag_stands_beside_the_file() {
        let (_folder, mut flags) = flags(&[DEMO], &[]);
        let name = |flags: &SpecFlags| flags.object().expect("valid")["metadata"]["name"].clone();
        assert_eq!(name(&flags), "mesh");
        flags.revision = Some("canary".to_owned());
        assert_eq!(name(&flags), "mesh-canary");
    }

    #[test]
    fn files_that_are_not_one_operator_are_refused() {
        let (code, message) = refusal(&["a: ["], &[]);
        assert_eq!(code, exit::Code::Data, "{message}");
        let (code, message) = refusal(&["kind: ConfigMap"], &[]);
        assert!(
            code == exit::Code::Data && message.ends_with("\"ConfigMap\" is no IstioOperator"),
            "{message}"
        );
        let (code, message) = refusal(&[&format!("{DEMO}---\n{DEMO}")], &[]);
        assert!(
            code == exit::Code::Data && message.contains("exactly one"),
            "{message}"
        );
        let (code, message) = refusal(&[], &["profile"]);
        assert!(
            code == exit::Code::Usage && message.contains("path=value"),
            "{message}"
        );
    }

    #[test]
    fn force_turns_errors_into_warnings() {
        let object =
            json!({"kind": "IstioOperator", "spec": {"values": {"global": {"nonsense": true}}}});
        let context = Context::default();
        let error = rendered(&object, &context, Validation::Enforce).expect_err("unknown value");
        assert!(
            error.to_string().contains("spec.values.global.nonsense"),
            "{error}"
        );
        assert!(rendered(&object, &context, Validation::Warn).is_ok());
        let number = json!({"kind": "IstioOperator", "spec": {"revision": 1}});
        let error = rendered(&number, &context, Validation::Enforce).expect_err("a number");
        assert!(error.to_string().contains("spec.revision"), "{error}");
    }
}
