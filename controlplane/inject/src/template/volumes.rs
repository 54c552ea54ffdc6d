//! Volumes of the proxy and where it sees them.

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, ConfigMapVolumeSource, DownwardAPIVolumeFile,
    DownwardAPIVolumeSource, EmptyDirVolumeSource, ObjectFieldSelector, ProjectedVolumeSource,
    SecretVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use serde_json::Value;

use super::Context;
use crate::settings::Template;

const TOKEN_SECONDS: i64 = 43_200;

pub(super) fn mounts(context: &Context<'_>) -> Vec<VolumeMount> {
    let mut mounts = vec![
        mount("workload-socket", "/var/run/secrets/workload-spiffe-uds"),
        mount("credential-socket", "/var/run/secrets/credential-uds"),
        mount(
            "workload-certs",
            "/var/run/secrets/workload-spiffe-credentials",
        ),
    ];
    if has_root_certificate(context) {
        mounts.push(mount("istiod-ca-cert", "/var/run/secrets/istio"));
    }
    if has_revocations(context) {
        mounts.push(mount("istio-ca-crl", "/var/run/secrets/istio/crl"));
    }
    mounts.push(mount("istio-data", "/var/lib/istio/data"));
    if bootstrap(context).is_some() {
        mounts.push(mount(
            "custom-bootstrap-volume",
            "/etc/istio/custom-bootstrap",
        ));
    }
    mounts.push(mount("istio-envoy", "/etc/istio/proxy"));
    mounts.push(mount("istio-token", "/var/run/secrets/tokens"));
    if context.global().mount_mtls_certs {
        mounts.push(VolumeMount {
            read_only: Some(true),
            ..mount("istio-certs", "/etc/certs/")
        });
    }
    mounts.push(mount("istio-podinfo", "/etc/istio/pod"));
    mounts.extend(context.settings.user_volume_mounts.iter().cloned());
    mounts
}

pub(super) fn all(context: &Context<'_>) -> Vec<Volume> {
    let mut volumes = vec![
        empty("workload-socket", None),
        empty("credential-socket", None),
        empty("workload-certs", None),
    ];
    if let Some(config_map) = bootstrap(context) {
        volumes.push(config_map_volume(
            "custom-bootstrap-volume",
            config_map,
            None,
        ));
    }
    volumes.extend([
        empty("istio-envoy", Some("Memory")),
        empty("istio-data", None),
        pod_info(),
        token(&context.global().sds.token.aud),
    ]);
    if has_root_certificate(context) {
        volumes.push(root_certificate(context));
    }
    if has_revocations(context) {
        volumes.push(config_map_volume(
            "istio-ca-crl",
            "istio-ca-crl",
            Some(true),
        ));
    }
    if context.global().mount_mtls_certs {
        volumes.push(legacy_certificates(context));
    }
    volumes.extend(context.settings.user_volumes.iter().cloned());
    volumes
}

fn has_root_certificate(context: &Context<'_>) -> bool {
    context.global().pilot_cert_provider == "istiod"
}

/// Revocation lists are mounted for sidecars only.
fn has_revocations(context: &Context<'_>) -> bool {
    has_root_certificate(context) && context.settings.template == Template::Sidecar
}

fn bootstrap<'a>(context: &'a Context<'_>) -> Option<&'a str> {
    let sidecar = context.settings.template == Template::Sidecar;
    context
        .settings
        .bootstrap_override
        .as_deref()
        .filter(|_| sidecar)
}

fn root_certificate(context: &Context<'_>) -> Volume {
    let name = context.global().trust_bundle_name.as_str();
    let or = |default: &'static str| match name {
        "" => default.to_owned(),
        name => name.to_owned(),
    };
    let as_bundle = context
        .config
        .values
        .pilot
        .env
        .get("ENABLE_CLUSTER_TRUST_BUNDLE_API");
    if as_bundle != Some(&Value::Bool(true)) {
        return config_map_volume("istiod-ca-cert", &or("istio-ca-root-cert"), None);
    }
    projected(
        "istiod-ca-cert",
        VolumeProjection {
            cluster_trust_bundle: Some(ClusterTrustBundleProjection {
                name: Some(format!("istio.io:istiod-ca:{}", or("root-cert"))),
                path: "root-cert.pem".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        },
    )
}

/// Certificates that old control planes kept per service account.
fn legacy_certificates(context: &Context<'_>) -> Volume {
    let account = match context.service_account {
        "" => "default",
        account => account,
    };
    Volume {
        name: "istio-certs".to_owned(),
        secret: Some(SecretVolumeSource {
            optional: Some(true),
            secret_name: Some(format!("istio.{account}")),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..Default::default()
    }
}

fn empty(name: &str, medium: Option<&str>) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(str::to_owned),
            size_limit: None,
        }),
        ..Default::default()
    }
}

fn config_map_volume(name: &str, config_map: &str, optional: Option<bool>) -> Volume {
    Volume {
        name: name.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map.to_owned(),
            optional,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn projected(name: &str, source: VolumeProjection) -> Volume {
    Volume {
        name: name.to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: None,
            sources: Some(vec![source]),
        }),
        ..Default::default()
    }
}

fn token(audience: &str) -> Volume {
    projected(
        "istio-token",
        VolumeProjection {
            service_account_token: Some(ServiceAccountTokenProjection {
                audience: Some(audience.to_owned()),
                expiration_seconds: Some(TOKEN_SECONDS),
                path: "istio-token".to_owned(),
            }),
            ..Default::default()
        },
    )
}

/// The pod's labels and annotations as files.
fn pod_info() -> Volume {
    let file = |field: &str| DownwardAPIVolumeFile {
        path: field.to_owned(),
        field_ref: Some(ObjectFieldSelector {
            field_path: format!("metadata.{field}"),
            api_version: None,
        }),
        ..Default::default()
    };
    Volume {
        name: "istio-podinfo".to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            default_mode: None,
            items: Some(vec![file("labels"), file("annotations")]),
        }),
        ..Default::default()
    }
}
