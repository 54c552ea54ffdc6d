//! Parts of pods: environment, volumes and mounts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, ConfigMapVolumeSource, EnvVar, EnvVarSource,
    HostPathVolumeSource, LocalObjectReference, ObjectFieldSelector, ProjectedVolumeSource,
    ResourceFieldSelector, SELinuxOptions, SecretVolumeSource, Volume, VolumeMount,
    VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::{given, some_list};
use crate::value::scalar_text;
use crate::values::global::non_empty;

/// An environment variable with a value.
pub fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.into(),
        value: Some(value.into()),
        ..EnvVar::default()
    }
}

/// An environment variable that shows a field of the pod.
pub fn env_field(name: &str, path: &str, api_version: Option<&str>) -> EnvVar {
    EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: api_version.map(str::to_owned),
                field_path: path.into(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// An environment variable that shows an amount of the container.
pub fn env_resource(name: &str, resource: &str, divisor: Option<&str>) -> EnvVar {
    EnvVar {
        name: name.into(),
        value_from: Some(EnvVarSource {
            resource_field_ref: Some(ResourceFieldSelector {
                divisor: divisor.map(|text| Quantity(text.into())),
                resource: resource.into(),
                ..ResourceFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// Environment variables of a values map, in order of their names.
pub fn env_map(map: &BTreeMap<String, Value>) -> impl Iterator<Item = EnvVar> + '_ {
    map.iter()
        .filter_map(|(name, value)| Some(env(name, scalar_text(value)?)))
}

/// References to pull secrets.
pub fn pull_secrets(names: &[String]) -> Option<Vec<LocalObjectReference>> {
    let secrets = names
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() });
    some_list(secrets.collect())
}

/// A volume that is mounted.
pub fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.into(),
        mount_path: path.into(),
        ..VolumeMount::default()
    }
}

/// A volume that is mounted for reading.
pub fn mount_read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        read_only: Some(true),
        ..mount(name, path)
    }
}

/// A Secret that may be missing.
pub fn optional_secret(volume: &str, secret: &str) -> Volume {
    Volume {
        name: volume.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.into()),
            optional: Some(true),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// A directory of the node.
pub fn host_path(volume: &str, path: &str, kind: Option<&str>) -> Volume {
    Volume {
        name: volume.into(),
        host_path: Some(HostPathVolumeSource {
            path: path.into(),
            type_: kind.map(str::to_owned),
        }),
        ..Volume::default()
    }
}

/// The volume with the mesh's root certificate, from the ConfigMap or the cluster's trust bundle;
/// an empty name is the usual one.
pub fn root_certificate(volume: &str, name: &str, from_bundle: bool) -> Volume {
    if from_bundle {
        return Volume {
            name: volume.into(),
            projected: Some(trust_bundle(name, None)),
            ..Volume::default()
        };
    }
    Volume {
        name: volume.into(),
        config_map: Some(ConfigMapVolumeSource {
            name: non_empty(name).unwrap_or_else(|| "istio-ca-root-cert".to_owned()),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// The trust bundle of the control plane's signer; an empty name is the usual one.
pub fn trust_bundle(name: &str, optional: Option<bool>) -> ProjectedVolumeSource {
    let name = non_empty(name).unwrap_or_else(|| "root-cert".to_owned());
    ProjectedVolumeSource {
        sources: Some(vec![VolumeProjection {
            cluster_trust_bundle: Some(ClusterTrustBundleProjection {
                name: Some(format!("istio.io:istiod-ca:{name}")),
                path: "root-cert.pem".into(),
                optional,
                ..ClusterTrustBundleProjection::default()
            }),
            ..VolumeProjection::default()
        }]),
        ..ProjectedVolumeSource::default()
    }
}

/// Whether an environment asks for trust bundles of the cluster.
pub fn trusts_cluster_bundle(env: &BTreeMap<String, Value>) -> bool {
    let switch = env.get("ENABLE_CLUSTER_TRUST_BUNDLE_API");
    switch.and_then(scalar_text).as_deref() == Some("true")
}

/// What SELinux should see; programs of nodes are of a type that may do what they must.
pub fn se_linux(options: &Option<SELinuxOptions>) -> Option<SELinuxOptions> {
    given(options).map(|mut own| {
        own.type_.get_or_insert_with(|| "spc_t".to_owned());
        own
    })
}
