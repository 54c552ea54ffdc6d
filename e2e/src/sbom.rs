//! What an image consists of, as a CycloneDX document (<https://cyclonedx.org/docs/1.6/json/>): the program, the packages
//! that are linked into it, and where they come from. The same sources give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

/// The only platform that images are made for.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The packages of the workspace and everything that they depend on.
pub struct Packages {
    by_id: BTreeMap<String, Package>,
    /// What is linked, by the package that links it.
    linked: BTreeMap<String, BTreeSet<String>>,
    /// SHA-256 of what registries serve, by name and version.
    checksums: BTreeMap<(String, String), String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// `dev`, `build`, or nothing for what is linked.
    kind: Option<String>,
}

impl Packages {
    /// Asks cargo about the workspace in a directory.
    ///
    /// # Errors
    /// There is no workspace, or its lock file is not current.
    pub fn of_workspace(directory: &Path) -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args([
                "metadata",
                "--format-version=1",
                "--locked",
                "--filter-platform",
                PLATFORM,
            ])
            .current_dir(directory)
            .output()
            .context("cargo can't be run")?;
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let metadata = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
        let lock = directory.join("Cargo.lock");
        let lock = std::fs::read_to_string(&lock).with_context(|| lock.display().to_string())?;
        Ok(Self::new(metadata, checksums(&lock)))
    }

    fn new(metadata: Metadata, checksums: BTreeMap<(String, String), String>) -> Self {
        let linked = metadata.resolve.nodes.into_iter().map(|node| {
            let linked = node.deps.into_iter().filter(|dependency| {
                let mut kinds = dependency.dep_kinds.iter();
                kinds.any(|kind| kind.kind.is_none())
            });
            (node.id, linked.map(|dependency| dependency.pkg).collect())
        });
        Self {
            linked: linked.collect(),
            by_id: metadata
                .packages
                .into_iter()
                .map(|package| (package.id.clone(), package))
                .collect(),
            checksums,
        }
    }

    /// The document of an image with one program; `sha256` is the program's.
    ///
    /// # Errors
    /// No package of the workspace has the program.
    pub fn document(&self, binary: &str, reference: &str, sha256: &str) -> anyhow::Result<Value> {
        let root = self.by_id.values().find(|package| package.has(binary));
        let Some(root) = root else {
            bail!("no package has a program {binary}")
        };
        let closure = self.closure(&root.id);
        let components = closure.iter().filter(|id| **id != root.id);
        let mut components: Vec<Value> = components.map(|id| self.component(id)).collect();
        components.insert(
            0,
            json!({
                "type": "application", "bom-ref": reference_of(root), "name": binary,
                "version": ironsail_mesh::VERSION,
                "hashes": [{"alg": "SHA-256", "content": sha256}],
                "licenses": [{"expression": root.license.as_deref().unwrap_or("NOASSERTION")}],
            }),
        );
        let mut dependencies: Vec<Value> = closure.iter().map(|id| self.edges(id)).collect();
        dependencies.push(json!({"ref": reference, "dependsOn": [reference_of(root)]}));
        Ok(json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "container", "bom-ref": reference, "name": reference,
                    "version": ironsail_mesh::VERSION,
                },
            },
            "components": components,
            "dependencies": dependencies,
        }))
    }

    /// Everything that is linked with a package, itself included.
    fn closure(&self, root: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = self
            .by_id
            .get_key_value(root)
            .map(|(id, _)| &**id)
            .into_iter()
            .collect();
        while let Some(id) = open.pop() {
            if found.insert(id) {
                open.extend(
                    self.linked
                        .get(id)
                        .into_iter()
                        .flatten()
                        .map(String::as_str),
                );
            }
        }
        found
    }

    fn component(&self, id: &str) -> Value {
        let Some(package) = self.by_id.get(id) else {
            return json!({"type": "library", "bom-ref": id, "name": id});
        };
        let mut component = json!({
            "type": "library", "bom-ref": reference_of(package), "name": package.name,
            "version": package.version,
        });
        if package.source.is_some() {
            component["purl"] = reference_of(package).into();
        }
        if let Some(license) = &package.license {
            // Old manifests write a slash for "or".
            component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
        }
        let key = (package.name.clone(), package.version.clone());
        if let Some(checksum) = self.checksums.get(&key) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        component
    }

    fn edges(&self, id: &str) -> Value {
        let reference = |id: &str| {
            self.by_id
                .get(id)
                .map_or_else(|| id.to_owned(), reference_of)
        };
        let linked = self.linked.get(id).into_iter().flatten();
        let linked: BTreeSet<String> = linked.map(|id| reference(id)).collect();
        json!({"ref": reference(id), "dependsOn": linked})
    }
}

impl Package {
    fn has(&self, binary: &str) -> bool {
        self.source.is_none()
            && self
                .targets
                .iter()
                .any(|target| target.name == binary && target.kind.iter().any(|kind| kind == "bin"))
    }
}

/// As package URLs write it: <https://github.com/package-url/purl-spec>.
fn reference_of(package: &Package) -> String {
    format!(
        "pkg:cargo/{}@{}",
        package.name,
        package.version.replace('+', "%2B")
    )
}

/// Checksums of a lock file, whose entries are lines of `key = "value"` below `[[package]]`.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let entries = lock.split("[[package]]").skip(1);
    entries
        .filter_map(|entry| {
            let value = |key: &str| {
                let lines = entry.lines().filter_map(|line| line.split_once(" = "));
                let mut found = lines.filter(|(name, _)| *name == key);
                Some(found.next()?.1.trim_matches('"').to_owned())
            };
            Some(((value("name")?, value("version")?), value("checksum")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(binary: &str) -> Value {
        let root = crate::directory().expect("run by cargo").join("..");
        let packages = Packages::of_workspace(&root).expect("a workspace");
        packages
            .document(binary, "hub/image:1", "00")
            .expect("a program of the workspace")
    }

    fn names(document: &Value) -> Vec<&str> {
        let components = document["components"].as_array().expect("a list");
        components
            .iter()
            .filter_map(|c| c["name"].as_str())
            .collect()
    }

    #[test]
    fn what_is_linked_is_named_and_nothing_else() {
        let document = document("operator");
        let names = names(&document);
        for (name, expected) in [
            ("operator", true),
            ("kube-client", true),
            ("rustls", true),
            // Of tests, of build scripts, and of another program.
            ("insta", false),
            ("cmake", false),
            ("ironsail-proxy", false),
        ] {
            assert_eq!(names.contains(&name), expected, "{name}");
        }
    }

    #[test]
    fn references_lead_somewhere() {
        let document = document("pilot-agent");
        let components = document["components"].as_array().expect("a list");
        let known: BTreeSet<&str> = components
            .iter()
            .filter_map(|component| component["bom-ref"].as_str())
            .collect();
        assert_eq!(known.len(), components.len(), "references are unique");
        let edges = document["dependencies"].as_array().expect("a list");
        let mut ends = edges
            .iter()
            .flat_map(|edge| edge["dependsOn"].as_array().into_iter().flatten());
        assert!(ends.all(|end| end.as_str().is_some_and(|end| known.contains(end))));
    }

    #[test]
    fn packages_of_registries_have_checksums() {
        let document = document("pilot-discovery");
        for component in document["components"].as_array().expect("a list") {
            let foreign = component.get("purl").is_some();
            assert!(
                !foreign || component["hashes"][0]["content"].is_string(),
                "{component}"
            );
        }
    }

    #[test]
    fn a_program_that_is_nowhere_is_an_error() {
        let root = crate::directory().expect("run by cargo").join("..");
        let packages = Packages::of_workspace(&root).expect("a workspace");
        let error = packages
            .document("nothing", "x", "00")
            .expect_err("no program");
        assert!(error.to_string().contains("nothing"), "{error}");
    }
}
