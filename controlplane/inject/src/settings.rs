//! What is injected into one pod: mesh, injector values and annotations, merged and checked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ironsail_mesh::injector_values::InjectorValues;
use ironsail_mesh::mesh_config::MeshConfig;
use ironsail_mesh::proxy_config::{self, ProxyConfig};
use k8s_openapi::api::core::v1::{
    Lifecycle, ResourceRequirements, SeccompProfile, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{InjectError, InjectorConfig, annotation, image};

/// How traffic of the pod is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterceptionMode {
    Redirect,
    Tproxy,
    None,
}

impl InterceptionMode {
    pub fn as_str(self) -> &'static str {
        match self {
            InterceptionMode::Redirect => "REDIRECT",
            InterceptionMode::Tproxy => "TPROXY",
            InterceptionMode::None => "NONE",
        }
    }
}

/// Built-in templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    Sidecar,
    Gateway,
}

/// Which addresses, ports and interfaces are captured, in the arguments' own syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    pub mode: InterceptionMode,
    pub include_outbound_ip_ranges: String,
    pub exclude_outbound_ip_ranges: String,
    pub include_inbound_ports: String,
    /// Without the proxy's own ports.
    pub exclude_inbound_ports: String,
    pub include_outbound_ports: Option<String>,
    pub exclude_outbound_ports: Option<String>,
    pub virtual_interfaces: Option<String>,
    pub exclude_interfaces: Option<String>,
}

/// Timing of the proxy's readiness probe, in seconds and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    pub initial_delay: i32,
    pub period: i32,
    pub failure_threshold: i32,
}

/// Everything the templates need.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub template: Template,
    pub capture: Capture,
    /// 0 turns readiness, probe rewriting and merged metrics off.
    pub status_port: u16,
    pub readiness: Readiness,
    /// Attempts, one per second; `None` without a startup probe.
    pub startup_failure_threshold: Option<i32>,
    pub proxy_image: String,
    pub init_image: String,
    pub log_level: String,
    pub component_log_level: String,
    pub agent_log_level: String,
    pub resources: Option<ResourceRequirements>,
    pub lifecycle: Option<Lifecycle>,
    pub seccomp_profile: Option<SeccompProfile>,
    pub native: bool,
    pub hold_application: bool,
    pub rewrite_probes: bool,
    pub merge_metrics: bool,
    pub cap_net_bind_service: bool,
    /// ConfigMap with `custom_bootstrap.json`.
    pub bootstrap_override: Option<String>,
    pub user_volumes: Vec<Volume>,
    pub user_volume_mounts: Vec<VolumeMount>,
    pub proxy_config: ProxyConfig,
}

/// The pod's annotations with typed access.
#[derive(Clone, Copy)]
struct Annotations<'a>(&'a BTreeMap<String, String>);

impl<'a> Annotations<'a> {
    fn get(self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(String::as_str)
    }

    fn text_or(self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or(default).to_owned()
    }

    /// The annotation, checked, or the value of the installation, checked.
    fn checked(
        self,
        name: &str,
        default: &str,
        check: fn(&str) -> Result<(), String>,
    ) -> Result<String, InjectError> {
        match self.get(name) {
            Some(text) => check(text).map_err(|reason| InjectError::annotation(name, reason))?,
            None => check(default).map_err(|reason| InjectError::value(name, reason))?,
        }
        Ok(self.text_or(name, default))
    }

    fn boolean(self, name: &str) -> Result<Option<bool>, InjectError> {
        self.get(name)
            .map(|text| match text {
                "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
                "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
                other => Err(InjectError::annotation(
                    name,
                    format!("{other:?} is neither true nor false"),
                )),
            })
            .transpose()
    }

    fn count(self, name: &str, default: &str) -> Result<i32, InjectError> {
        let parse = |text: &str| {
            text.parse::<u32>()
                .ok()
                .and_then(|n| i32::try_from(n).ok())
                .ok_or_else(|| format!("{text:?} is not a count below 2^31"))
        };
        match self.get(name) {
            Some(text) => parse(text).map_err(|reason| InjectError::annotation(name, reason)),
            None => parse(default).map_err(|reason| InjectError::value(name, reason)),
        }
    }
}

impl Settings {
    /// Merges mesh defaults, injector values and annotations; `native` is what the cluster's kubelets allow.
    ///
    /// # Errors
    /// The first annotation or value that does not parse, by its name.
    pub fn resolve(
        annotations: &BTreeMap<String, String>,
        config: &InjectorConfig,
        mesh: &MeshConfig,
        native: bool,
    ) -> Result<Self, InjectError> {
        let given = Annotations(annotations);
        let values = &config.values;
        let global = &values.global;
        let proxy = &global.proxy;
        let mut proxy_config = merged_proxy_config(given, mesh)?;
        let status_port = status_port(given, &mut proxy_config, values)?;
        let image_type = given
            .get(annotation::PROXY_IMAGE_TYPE)
            .or_else(|| image_type(&proxy_config));
        let image = |default: &str| {
            let requested = given.get(annotation::PROXY_IMAGE).unwrap_or(default);
            image::reference(global, requested, image_type)
        };
        let native = given.boolean(annotation::NATIVE_SIDECAR)?.unwrap_or(native);
        let hold = proxy_config.hold_application_until_proxy_starts()
            || proxy.hold_application_until_proxy_starts;
        Ok(Self {
            template: template(given, config)?,
            capture: capture(given, values, &proxy_config, status_port)?,
            status_port,
            readiness: Readiness {
                initial_delay: given.count(
                    annotation::READINESS_INITIAL_DELAY,
                    &proxy.readiness_initial_delay_seconds,
                )?,
                period: given.count(
                    annotation::READINESS_PERIOD,
                    &proxy.readiness_period_seconds,
                )?,
                failure_threshold: given.count(
                    annotation::READINESS_FAILURE_THRESHOLD,
                    &proxy.readiness_failure_threshold,
                )?,
            },
            startup_failure_threshold: match proxy.startup_probe.enabled {
                true => Some(given.count(
                    "global.proxy.startupProbe.failureThreshold",
                    &proxy.startup_probe.failure_threshold,
                )?),
                false => None,
            },
            proxy_image: image(&proxy.image),
            init_image: image(&global.proxy_init.image),
            log_level: given.text_or(annotation::LOG_LEVEL, &proxy.log_level),
            component_log_level: given
                .text_or(annotation::COMPONENT_LOG_LEVEL, &proxy.component_log_level),
            agent_log_level: given.text_or(annotation::AGENT_LOG_LEVEL, &global.logging.level),
            resources: resources(given, values)?,
            lifecycle: decode_value("global.proxy.lifecycle", &proxy.lifecycle)?,
            seccomp_profile: decode_value("global.proxy.seccompProfile", &proxy.seccomp_profile)?,
            native,
            hold_application: hold,
            rewrite_probes: status_port != 0
                && given
                    .boolean(annotation::REWRITE_PROBES)?
                    .unwrap_or(values.sidecar_injector_webhook.rewrite_app_http_probe),
            merge_metrics: status_port != 0
                && given
                    .boolean(annotation::MERGE_METRICS)?
                    .unwrap_or(mesh.enable_prometheus_merge()),
            cap_net_bind_service: given
                .boolean(annotation::CAP_NET_BIND_SERVICE)?
                .unwrap_or(false),
            bootstrap_override: given.get(annotation::BOOTSTRAP_OVERRIDE).map(str::to_owned),
            user_volumes: named(given, annotation::USER_VOLUME)?,
            user_volume_mounts: named(given, annotation::USER_VOLUME_MOUNT)?,
            proxy_config,
        })
    }
}

fn template(given: Annotations<'_>, config: &InjectorConfig) -> Result<Template, InjectError> {
    let asked: Vec<&str> = match given.get(annotation::TEMPLATES) {
        Some(names) => names
            .split(',')
            .map(str::trim)
            .filter(|n| !n.is_empty())
            .collect(),
        None => config
            .default_templates
            .iter()
            .map(String::as_str)
            .collect(),
    };
    match asked[..] {
        [] | ["sidecar"] => Ok(Template::Sidecar),
        ["gateway"] => Ok(Template::Gateway),
        _ => {
            let foreign = asked
                .iter()
                .find(|name| !matches!(**name, "sidecar" | "gateway"));
            match foreign {
                Some(name) => Err(InjectError::Template((*name).to_owned())),
                None => Err(InjectError::annotation(
                    annotation::TEMPLATES,
                    "sidecar and gateway exclude each other",
                )),
            }
        }
    }
}

/// Mesh default, then the annotation `proxy.istio.io/config`, then `sidecar.istio.io/discoveryAddress`.
fn merged_proxy_config(
    given: Annotations<'_>,
    mesh: &MeshConfig,
) -> Result<ProxyConfig, InjectError> {
    let name = annotation::PROXY_CONFIG;
    let mut merged = serde_json::to_value(mesh.default_config())
        .map_err(|error| InjectError::value("meshConfig.defaultConfig", error))?;
    if let Some(text) = given.get(name) {
        let over: Value =
            serde_yaml_ng::from_str(text).map_err(|error| InjectError::annotation(name, error))?;
        match over {
            Value::Null => {}
            Value::Object(_) => proxy_config::merge(&mut merged, over),
            _ => return Err(InjectError::annotation(name, "not an object")),
        }
    }
    let mut merged =
        ProxyConfig::deserialize(merged).map_err(|error| InjectError::annotation(name, error))?;
    if let Some(address) = given.get(annotation::DISCOVERY_ADDRESS) {
        merged.discovery_address = Some(address.to_owned());
    }
    Ok(merged)
}

/// Annotation, proxy configuration, values; the first two reach the agent through the proxy configuration.
fn status_port(
    given: Annotations<'_>,
    proxy_config: &mut ProxyConfig,
    values: &InjectorValues,
) -> Result<u16, InjectError> {
    let name = annotation::STATUS_PORT;
    let parse = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| format!("{text:?} is not a port"))
    };
    if let Some(text) = given.get(name) {
        let port = parse(text).map_err(|reason| InjectError::annotation(name, reason))?;
        proxy_config.status_port = Some(port);
    }
    match (
        proxy_config.status_port,
        values.global.proxy.status_port.as_str(),
    ) {
        (Some(port), _) => Ok(port),
        (None, "") => Ok(proxy_config.status_port()),
        (None, text) => {
            parse(text).map_err(|reason| InjectError::value("global.proxy.statusPort", reason))
        }
    }
}

fn image_type(proxy_config: &ProxyConfig) -> Option<&str> {
    proxy_config.other.get("image")?.get("imageType")?.as_str()
}

fn capture(
    given: Annotations<'_>,
    values: &InjectorValues,
    proxy_config: &ProxyConfig,
    status_port: u16,
) -> Result<Capture, InjectError> {
    let proxy = &values.global.proxy;
    let name = annotation::INTERCEPTION_MODE;
    let configured = proxy_config
        .other
        .get("interceptionMode")
        .and_then(Value::as_str);
    let mode = match given.get(name).or(configured).unwrap_or("REDIRECT") {
        "REDIRECT" => InterceptionMode::Redirect,
        "TPROXY" => InterceptionMode::Tproxy,
        "NONE" => InterceptionMode::None,
        other => {
            return Err(InjectError::annotation(
                name,
                format!("{other:?} is none of REDIRECT, TPROXY, NONE"),
            ));
        }
    };
    let outbound = |name, default: &str, check| {
        let text = given.checked(name, default, check)?;
        // An annotation counts even when empty: it takes back what the installation asks for.
        Ok((given.get(name).is_some() || !text.is_empty()).then_some(text))
    };
    let excluded = given.checked(
        annotation::EXCLUDE_INBOUND_PORTS,
        &proxy.exclude_inbound_ports,
        check_ports,
    )?;
    let interfaces = |name: &str| {
        given
            .get(name)
            .map(|text| match check_interfaces(text) {
                Ok(()) => Ok(text.to_owned()),
                Err(reason) => Err(InjectError::annotation(name, reason)),
            })
            .transpose()
    };
    Ok(Capture {
        mode,
        include_outbound_ip_ranges: given.checked(
            annotation::INCLUDE_OUTBOUND_IP_RANGES,
            &proxy.include_ip_ranges,
            check_ranges_or_all,
        )?,
        exclude_outbound_ip_ranges: given.checked(
            annotation::EXCLUDE_OUTBOUND_IP_RANGES,
            &proxy.exclude_ip_ranges,
            check_ranges,
        )?,
        include_inbound_ports: given.checked(
            annotation::INCLUDE_INBOUND_PORTS,
            &proxy.include_inbound_ports,
            check_ports_or_all,
        )?,
        exclude_inbound_ports: with_port(&excluded, status_port),
        include_outbound_ports: outbound(
            annotation::INCLUDE_OUTBOUND_PORTS,
            &proxy.include_outbound_ports,
            check_ports_or_all,
        )?,
        exclude_outbound_ports: outbound(
            annotation::EXCLUDE_OUTBOUND_PORTS,
            &proxy.exclude_outbound_ports,
            check_ports,
        )?,
        virtual_interfaces: match interfaces(annotation::REROUTE_VIRTUAL_INTERFACES)? {
            Some(names) => Some(names),
            None => interfaces(annotation::KUBEVIRT_INTERFACES)?,
        },
        exclude_interfaces: interfaces(annotation::EXCLUDE_INTERFACES)?,
    })
}

/// A port list that has `port` too; 0 adds nothing.
fn with_port(ports: &str, port: u16) -> String {
    let mut listed: Vec<&str> = ports
        .split(',')
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .collect();
    let port = port.to_string();
    if port != "0" && !listed.contains(&port.as_str()) {
        listed.push(&port);
    }
    listed.join(",")
}

fn check_ports_or_all(text: &str) -> Result<(), String> {
    match text {
        "*" => Ok(()),
        list => check_ports(list),
    }
}

fn check_ports(text: &str) -> Result<(), String> {
    items(text).try_for_each(|port| match port.parse::<u16>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{port:?} is not a port")),
    })
}

fn check_ranges_or_all(text: &str) -> Result<(), String> {
    match text {
        "*" => Ok(()),
        list => check_ranges(list),
    }
}

fn check_ranges(text: &str) -> Result<(), String> {
    items(text).try_for_each(|range| {
        let error = || format!("{range:?} is not an address range such as 10.0.0.0/8");
        let (address, bits) = range.split_once('/').ok_or_else(error)?;
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        match bits.parse::<u8>() {
            Ok(bits) if bits <= most => Ok(()),
            _ => Err(error()),
        }
    })
}

fn check_interfaces(text: &str) -> Result<(), String> {
    items(text).try_for_each(|name| {
        let valid = name.len() <= 15
            && name.bytes().all(|b| {
                b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@' | b':')
            });
        match valid {
            true => Ok(()),
            false => Err(format!("{name:?} is not the name of a network interface")),
        }
    })
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Any of the four annotations replaces the installation's resources as a whole.
fn resources(
    given: Annotations<'_>,
    values: &InjectorValues,
) -> Result<Option<ResourceRequirements>, InjectError> {
    let side =
        |cpu: &str, memory: &str| -> Result<Option<BTreeMap<String, Quantity>>, InjectError> {
            let mut side = BTreeMap::new();
            for (resource, name) in [("cpu", cpu), ("memory", memory)] {
                if let Some(text) = given.get(name) {
                    check_quantity(text).map_err(|reason| InjectError::annotation(name, reason))?;
                    side.insert(resource.to_owned(), Quantity(text.to_owned()));
                }
            }
            Ok((!side.is_empty()).then_some(side))
        };
    let requests = side(annotation::PROXY_CPU, annotation::PROXY_MEMORY)?;
    let limits = side(annotation::PROXY_CPU_LIMIT, annotation::PROXY_MEMORY_LIMIT)?;
    if requests.is_none() && limits.is_none() {
        return decode_value("global.proxy.resources", &values.global.proxy.resources);
    }
    Ok(Some(ResourceRequirements {
        requests,
        limits,
        ..Default::default()
    }))
}

/// Grammar of quantities: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>.
fn check_quantity(text: &str) -> Result<(), String> {
    const SUFFIXES: [&str; 15] = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi",
    ];
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let exponent = suffix
        .strip_prefix(['e', 'E'])
        .is_some_and(|power| power.parse::<i8>().is_ok());
    let valid = digits > 0
        && number.len() - digits <= 1
        && (SUFFIXES.contains(&suffix) || suffix == "Ei" || exponent);
    match valid {
        true => Ok(()),
        false => Err(format!("{text:?} is not a quantity such as 100m or 128Mi")),
    }
}

/// Decodes a free-form value; an empty object is none.
pub(crate) fn decode_value<T: DeserializeOwned>(
    name: &str,
    value: &Option<Value>,
) -> Result<Option<T>, InjectError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(fields)) if fields.is_empty() => Ok(None),
        Some(value) => T::deserialize(without_nulls(value))
            .map(Some)
            .map_err(|error| InjectError::value(name, error)),
    }
}

/// A `null` takes away what lies below it: nothing is left of it here.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        other => other.clone(),
    }
}

/// An annotation `{"<name>": {fields}}` as a list of objects with that name.
fn named<T: DeserializeOwned>(given: Annotations<'_>, name: &str) -> Result<Vec<T>, InjectError> {
    let Some(text) = given.get(name) else {
        return Ok(Vec::new());
    };
    let error = |reason: serde_json::Error| InjectError::annotation(name, reason);
    let entries: BTreeMap<String, Value> = serde_json::from_str(text).map_err(error)?;
    entries
        .into_iter()
        .map(|(key, mut value)| {
            match value.as_object_mut() {
                Some(fields) => fields.insert("name".to_owned(), Value::String(key)),
                None => {
                    return Err(InjectError::annotation(
                        name,
                        format!("{key} is not an object"),
                    ));
                }
            };
            T::deserialize(value).map_err(error)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(annotations: &[(&str, &str)]) -> Result<Settings, InjectError> {
        let annotations = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Settings::resolve(
            &annotations,
            &InjectorConfig::default(),
            &MeshConfig::default(),
            false,
        )
    }

    #[test]
    fn malformed_annotations_are_named() {
        for (name, value) in [
            (annotation::INTERCEPTION_MODE, "redirect; rm"),
            (annotation::STATUS_PORT, "99999"),
            (annotation::INCLUDE_OUTBOUND_IP_RANGES, "10.0.0.0/33"),
            (annotation::INCLUDE_OUTBOUND_IP_RANGES, "example.com/8"),
            (annotation::EXCLUDE_INBOUND_PORTS, "80,-j ACCEPT"),
            (annotation::EXCLUDE_OUTBOUND_PORTS, "*"),
            (annotation::EXCLUDE_INTERFACES, "eth0 -j"),
            (annotation::PROXY_CPU, "much"),
            (annotation::PROXY_MEMORY_LIMIT, "1.2.3Gi"),
            (annotation::PROXY_CONFIG, "concurrency: many"),
            (annotation::PROXY_CONFIG, "- a"),
            (annotation::PROXY_CONFIG, "{"),
            (annotation::USER_VOLUME, "[1]"),
            (annotation::USER_VOLUME, r#"{"a": 1}"#),
            (annotation::USER_VOLUME_MOUNT, r#"{"a": {"mountPath": 7}}"#),
            (annotation::REWRITE_PROBES, "perhaps"),
            (annotation::READINESS_PERIOD, "-1"),
        ] {
            match resolve(&[(name, value)]) {
                Err(InjectError::Annotation { name: named, .. }) => assert_eq!(named, name),
                other => panic!("{name}={value:?} gave {other:?}"),
            }
        }
    }

    #[test]
    fn quantities() {
        for good in ["1", "100m", "128Mi", "1.5Gi", "2e3", "1E", "0.1", "5Ei"] {
            check_quantity(good).expect(good);
        }
        for bad in ["", "Mi", "1 Gi", "1.2.3", "-1", "1Xi", "e3", "."] {
            assert!(check_quantity(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn templates_that_are_not_built_in_are_refused() {
        assert_eq!(
            resolve(&[(annotation::TEMPLATES, "gateway")])
                .expect("built in")
                .template,
            Template::Gateway
        );
        assert_eq!(
            resolve(&[(annotation::TEMPLATES, "sidecar,mine")]).expect_err("not built in"),
            InjectError::Template("mine".to_owned())
        );
    }

    #[test]
    fn the_status_port_reaches_the_agent() {
        let settings = resolve(&[(annotation::STATUS_PORT, "9000")]).expect("valid");
        assert_eq!(settings.proxy_config.status_port, Some(9000));
        assert_eq!(settings.capture.exclude_inbound_ports, "9000");
        let off = resolve(&[(annotation::STATUS_PORT, "0")]).expect("valid");
        assert!(!off.rewrite_probes && !off.merge_metrics);
        assert_eq!(off.capture.exclude_inbound_ports, "");
    }

    #[test]
    fn one_resource_annotation_replaces_all() {
        let settings = resolve(&[(annotation::PROXY_CPU, "50m")]).expect("valid");
        let resources = settings.resources.expect("set");
        assert!(resources.limits.is_none());
        assert_eq!(resources.requests.expect("set").len(), 1);
    }
}
