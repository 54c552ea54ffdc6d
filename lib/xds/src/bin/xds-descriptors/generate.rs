//! Compiles the descriptor set of protobuf JSON from the `.proto` files of `envoy-types` and our own.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// Include paths inside the package `envoy-types`.
const INCLUDES: &[&str] = &[
    "proto/cel-spec/proto",
    "proto/client_model",
    "proto/data-plane-api",
    "proto/googleapis",
    "proto/opentelemetry-proto",
    "proto/protoc-gen-validate",
    "proto/ratelimit/api",
    "proto/xds",
];

/// Uses a relative name that protox resolves to another package; its messages print as bytes.
const SKIPPED: &str = "envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster.proto";

/// This crate's folder, in the checkout that cargo runs for.
pub fn this_crate() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate"))
}

/// The compressed descriptor set, the same bytes for the same input.
pub fn generate() -> Vec<u8> {
    let ours = this_crate().join("proto");
    let envoy = envoy_types();
    let mut includes: Vec<PathBuf> = INCLUDES.iter().map(|path| envoy.join(path)).collect();
    includes.push(ours);
    let mut files: BTreeMap<String, FileDescriptorProto> = BTreeMap::new();
    for include in &includes {
        for path in protos(include)
            .into_iter()
            .filter(|path| !path.ends_with(SKIPPED))
        {
            // One compiler per file: a single one trips over names that two files define alike.
            let mut compiler = protox::Compiler::new(&includes).expect("include paths exist");
            compiler.include_imports(true);
            compiler
                .open_file(&path)
                .unwrap_or_else(|error| panic!("{} does not compile: {error}", path.display()));
            for file in compiler.file_descriptor_set().file {
                files.entry(file.name().to_owned()).or_insert(file);
            }
        }
    }
    let set = FileDescriptorSet {
        file: in_order(files),
    };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(&set.encode_to_vec())
        .and_then(|()| encoder.finish())
        .expect("memory takes everything")
}

/// Imports before importers, as descriptor pools want them.
fn in_order(mut files: BTreeMap<String, FileDescriptorProto>) -> Vec<FileDescriptorProto> {
    let mut ordered = Vec::with_capacity(files.len());
    while let Some(name) = files.keys().next().cloned() {
        take(&name, &mut files, &mut ordered);
    }
    ordered
}

fn take(
    name: &str,
    files: &mut BTreeMap<String, FileDescriptorProto>,
    ordered: &mut Vec<FileDescriptorProto>,
) {
    if let Some(file) = files.remove(name) {
        for import in file.dependency.clone() {
            take(&import, files, ordered);
        }
        ordered.push(file);
    }
}

fn protos(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "proto")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn envoy_types() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--offline",
            "--filter-platform=x86_64-unknown-linux-gnu",
        ])
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| package["manifest_path"].as_str())
        .and_then(|path| Path::new(path).parent())
        .expect("envoy-types is a dependency")
        .to_owned()
}
