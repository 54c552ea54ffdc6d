//! The mesh under test: images, manifests, installation.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::{kubectl, operator, wait};

/// Hub and tag that the manifests in `deploy` name.
const MANIFEST_HUB: &str = "ironsail";

/// Namespace of the control plane and the gateways.
pub const SYSTEM: &str = "istio-system";

/// Namespace of the operator.
pub const OPERATOR: &str = "istio-operator";

/// Lines of each look at what went wrong.
const SCENE_LINES: usize = 12;

/// Reference of one of our images, under `$HUB` where that is set.
pub fn image(name: &str) -> String {
    format!("{}/{name}:{}", hub(), ironsail_mesh::VERSION)
}

/// Registry and path of our images: `$HUB`, or what the manifests name.
pub fn hub() -> String {
    match std::env::var("HUB") {
        Ok(hub) if !hub.is_empty() => hub.trim_end_matches('/').to_owned(),
        _ => MANIFEST_HUB.to_owned(),
    }
}

/// A manifest below the repository's root, with images of `$HUB`.
///
/// # Errors
/// It cannot be read.
pub fn manifest(path: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string(crate::directory()?.join("..").join(path))
        .with_context(|| path.to_owned())?;
    Ok(text
        .replace(
            &format!("image: {MANIFEST_HUB}/"),
            &format!("image: {}/", hub()),
        )
        .replace(
            &format!("value: {MANIFEST_HUB}\n"),
            &format!("value: {}\n", hub()),
        ))
}

/// Installs operator and mesh once per test run; later calls return at once.
///
/// # Panics
/// The mesh does not become healthy: no test could run.
pub fn installed() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| install().expect("the mesh is installed"));
}

fn install() -> anyhow::Result<()> {
    apply_operator()?;
    apply_demo()?;
    healthy("demo", Duration::from_secs(180))
}

/// `kubectl apply -f deploy/operator.yaml`, and the operator available. Namespaces that are still
/// being deleted are awaited first.
///
/// # Errors
/// The manifest is refused, or the operator does not start.
pub fn apply_operator() -> anyhow::Result<()> {
    let phases =
        "jsonpath={range .items[?(@.status.phase=='Terminating')]}{.metadata.name}{'\\n'}{end}";
    let ending = kubectl::run(&["get", "namespaces", "-o", phases])?;
    for namespace in ending
        .lines()
        .filter(|name| [OPERATOR, SYSTEM].contains(name))
    {
        let gone = ["--for=delete", "--timeout=120s"];
        kubectl::run(&[&["wait", "namespace", namespace][..], &gone].concat())?;
    }
    kubectl::run_with_input(&["apply", "-f", "-"], &manifest("deploy/operator.yaml")?)?;
    operator::rolled_out()
}

/// `kubectl apply -f deploy/samples/iop-demo.yaml`.
///
/// # Errors
/// The resource is refused.
pub fn apply_demo() -> anyhow::Result<()> {
    let text = manifest("deploy/samples/iop-demo.yaml")?;
    kubectl::run_with_input(&["apply", "-f", "-"], &text).map(drop)
}

/// Waits until the resource says HEALTHY for its present generation.
///
/// # Errors
/// It does not in time; the error quotes its status.
pub fn healthy(name: &str, limit: Duration) -> anyhow::Result<()> {
    wait::until("HEALTHY", limit, || {
        let iop = kubectl::get(SYSTEM, &["istiooperator", name])?;
        let status = &iop["status"];
        ensure!(
            status["status"] == "HEALTHY"
                && status["observedGeneration"] == iop["metadata"]["generation"],
            "status is {status:#}"
        );
        Ok(())
    })
    .with_context(scene)
}

/// What a person would look at next: pods, warnings and the last words of the operator.
pub fn scene() -> String {
    let looks: [&[&str]; 3] = [
        &["get", "pods", "--all-namespaces", "--output=wide"],
        &[
            "get",
            "events",
            "--all-namespaces",
            "--field-selector=type=Warning",
            "--sort-by=.lastTimestamp",
        ],
        &[
            "--namespace",
            OPERATOR,
            "logs",
            "deployment/istio-operator",
            "--all-pods",
            "--tail=6",
        ],
    ];
    let seen = looks.map(|look| {
        let text = kubectl::run(look).unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SCENE_LINES)..].join("\n")
    });
    seen.join("\n\n")
}

/// The demo is away while this lives; the operator and the demo are back afterwards.
pub struct WithoutDemo;

impl WithoutDemo {
    /// Returns when the demo is removed.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn begin() -> anyhow::Result<Self> {
        installed();
        let delete = ["delete", "istiooperator", "demo", "--timeout=90s"];
        kubectl::run(&[&["-n", SYSTEM][..], &delete].concat())?;
        Ok(Self)
    }
}

impl Drop for WithoutDemo {
    fn drop(&mut self) {
        let back = apply_operator()
            .and_then(|()| apply_demo())
            .and_then(|()| healthy("demo", Duration::from_secs(180)));
        if let Err(error) = back {
            eprintln!("the demo stays away: {error:#}");
        }
    }
}
