//! What the kubelet does: it starts the proxy's container with arguments, variables and files.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use ironsail_inject::PROXY_CONTAINER;
use ironsail_proxy::bootstrap::{Bootstrap, Environment};
use ironsail_proxy::command::{self, Command};
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};

/// Cores that a container without limit sees.
const CORES: &str = "2";

/// The container of the proxy; `None`: the pod has none.
pub fn proxy_container(pod: &Pod) -> Option<&Container> {
    let spec = pod.spec.as_ref()?;
    let mut containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    containers.find(|container| container.name == PROXY_CONTAINER)
}

/// What the proxy of a pod starts from; `root` becomes the container's file system.
///
/// # Errors
/// Arguments or variables are not what the proxy takes.
pub fn bootstrap(
    pod: &Pod,
    container: &Container,
    mesh: &str,
    root: &Path,
) -> anyhow::Result<Bootstrap> {
    let variables = variables(pod, container)?;
    write_files(pod, mesh, root)?;
    let arguments = container.args.iter().flatten();
    let arguments = arguments.map(|argument| expand(argument, &variables));
    let program = std::iter::once("pilot-agent".to_owned());
    let Command::Proxy { flags, unknown, .. } = command::parse(program.chain(arguments))? else {
        bail!("the container does not start a proxy");
    };
    if !unknown.is_empty() {
        bail!("flags {unknown:?} are unknown");
    }
    let environment = Environment::new(variables, root.to_owned());
    Ok(Bootstrap::new(&flags, &environment)?)
}

fn variables(pod: &Pod, container: &Container) -> anyhow::Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let value = value(pod, container, variable)?;
        let value = expand(&value, &variables);
        variables.insert(variable.name.clone(), value);
    }
    Ok(variables)
}

fn value(pod: &Pod, container: &Container, variable: &EnvVar) -> anyhow::Result<String> {
    let Some(source) = &variable.value_from else {
        return Ok(variable.value.clone().unwrap_or_default());
    };
    if let Some(field) = &source.field_ref {
        return field_of(pod, &field.field_path).with_context(|| variable.name.clone());
    }
    if source.resource_field_ref.is_some() {
        let limits = container.resources.as_ref().and_then(|r| r.limits.as_ref());
        let limit = limits.and_then(|limits| limits.get("cpu"));
        return Ok(limit.map_or_else(|| CORES.to_owned(), |cpu| cores(&cpu.0)));
    }
    bail!("{}: such a source is not simulated", variable.name)
}

/// Whole cores of a quantity, rounded up: `2000m` is 2.
fn cores(quantity: &str) -> String {
    let milli = quantity
        .strip_suffix('m')
        .and_then(|text| text.parse::<u64>().ok());
    milli.map_or_else(
        || quantity.to_owned(),
        |milli| milli.div_ceil(1000).to_string(),
    )
}

fn field_of(pod: &Pod, path: &str) -> anyhow::Result<String> {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let entry = |map: &Option<BTreeMap<String, String>>, key: &str| {
        let key = key.trim_matches(['\'', ']']);
        map.as_ref()?.get(key).cloned()
    };
    let found = match path {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => {
            let account = spec.and_then(|spec| spec.service_account_name.clone());
            Some(account.unwrap_or_else(|| "default".to_owned()))
        }
        "status.podIP" => status.and_then(|status| status.pod_ip.clone()),
        "status.hostIP" => status.and_then(|status| status.host_ip.clone()),
        _ => match path.split_once("['") {
            Some(("metadata.labels", key)) => entry(&pod.metadata.labels, key),
            Some(("metadata.annotations", key)) => entry(&pod.metadata.annotations, key),
            _ => bail!("field {path} is not simulated"),
        },
    };
    Ok(found.unwrap_or_default())
}

/// `$(NAME)` becomes the variable's value; unknown names stay.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = text.to_owned();
    for (name, value) in variables {
        expanded = expanded.replace(&format!("$({name})"), value);
    }
    expanded
}

/// The downward API, and the mesh document where the pod mounts it.
fn write_files(pod: &Pod, mesh: &str, root: &Path) -> anyhow::Result<()> {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(root))?;
        std::fs::write(path, text)
    };
    write("etc/istio/pod/labels", &downward(&pod.metadata.labels))?;
    write(
        "etc/istio/pod/annotations",
        &downward(&pod.metadata.annotations),
    )?;
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let mut maps = volumes.filter_map(|volume| volume.config_map.as_ref());
    if maps.any(|map| map.name == "istio") {
        write("etc/istio/config/mesh", mesh)?;
    }
    Ok(())
}

fn downward(map: &Option<BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={}\n", serde_json::json!(value));
    map.iter().flatten().map(line).collect()
}
