//! The operator's pods and what stands before them.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, HTTPGetAction, PodSecurityContext, PodSpec, PodTemplateSpec,
    Probe, ResourceRequirements, SeccompProfile, SecurityContext, Service, ServicePort,
    ServiceSpec, TopologySpreadConstraint,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{NAME, PORT, WATCHED, WEBHOOK_PORT, labels, metadata};
use crate::component::istiod::deployment::{drop_all, tcp_port};
use crate::component::{Labels, env, env_field, match_labels};
use crate::render::Context;

/// User that the image is made for.
const USER: i64 = 1337;
/// One leads, and another one waits to.
const REPLICAS: i32 = 2;
const METRICS: &str = "http-metrics";
const WEBHOOK: &str = "https-webhook";

pub(super) fn service() -> Service {
    let port = |name: &str, port: i32| ServicePort {
        name: Some(name.to_owned()),
        port,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    };
    Service {
        metadata: metadata(Some(NAME)),
        spec: Some(ServiceSpec {
            ports: Some(vec![port(METRICS, i32::from(PORT)), port(WEBHOOK, 443)]),
            selector: Some(selector()),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn selector() -> Labels {
    [("name".to_owned(), NAME.to_owned())].into()
}

/// One pod at a time may be moved.
pub(super) fn disruption_budget() -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(Some(NAME)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(match_labels(selector())),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}

/// On different machines, if there are several.
fn spread() -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(match_labels(selector())),
        ..TopologySpreadConstraint::default()
    }
}

pub(super) fn deployment(context: &Context) -> Deployment {
    let annotations = [
        ("prometheus.io/scrape", "true".to_owned()),
        ("prometheus.io/port", PORT.to_string()),
    ];
    let mut labels = labels();
    labels.insert(ironsail_mesh::label::INJECT.to_owned(), "false".to_owned());
    Deployment {
        metadata: metadata(Some(NAME)),
        spec: Some(DeploymentSpec {
            replicas: Some(REPLICAS),
            selector: match_labels(selector()),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations.map(|(k, v)| (k.to_owned(), v)).into()),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    service_account_name: Some(NAME.into()),
                    // Longer than it takes to finish the deletion of IstioOperators that go away
                    // together with the operator.
                    termination_grace_period_seconds: Some(60),
                    security_context: Some(PodSecurityContext {
                        run_as_non_root: Some(true),
                        run_as_user: Some(USER),
                        run_as_group: Some(USER),
                        seccomp_profile: Some(SeccompProfile {
                            type_: "RuntimeDefault".into(),
                            ..SeccompProfile::default()
                        }),
                        ..PodSecurityContext::default()
                    }),
                    topology_spread_constraints: Some(vec![spread()]),
                    containers: vec![container(context)],
                    ..PodSpec::default()
                }),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn container(context: &Context) -> Container {
    let quantities = |cpu: Option<&str>, memory: &str| {
        let cpu = cpu.map(|cpu| ("cpu".to_owned(), Quantity(cpu.into())));
        let memory = ("memory".to_owned(), Quantity(memory.into()));
        Some(cpu.into_iter().chain([memory]).collect())
    };
    let probe = |path: &str, period: i32| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::Int(i32::from(PORT)),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        ..Probe::default()
    };
    let port = |name: &str, number: u16| ContainerPort {
        name: Some(name.into()),
        ..tcp_port(i32::from(number), None)
    };
    Container {
        name: NAME.into(),
        image: Some(format!("{}/operator:{}", context.hub, context.tag)),
        args: Some(
            ["server", "--log_output_level=default:info"]
                .map(str::to_owned)
                .into(),
        ),
        ports: Some(vec![port(METRICS, PORT), port(WEBHOOK, WEBHOOK_PORT)]),
        env: Some(environment(context)),
        readiness_probe: Some(probe("/readyz", 5)),
        liveness_probe: Some(probe("/healthz", 10)),
        resources: Some(ResourceRequirements {
            requests: quantities(Some("50m"), "128Mi"),
            limits: quantities(None, "256Mi"),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(drop_all()),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn environment(context: &Context) -> Vec<EnvVar> {
    vec![
        env("WATCH_NAMESPACE", WATCHED),
        env("HUB", &context.hub),
        env("TAG", &context.tag),
        env("WAIT_FOR_RESOURCES_TIMEOUT", "300s"),
        env("OPERATOR_NAME", NAME),
        env_field("POD_NAME", "metadata.name", None),
        env_field("POD_NAMESPACE", "metadata.namespace", None),
        env_field("SERVICE_ACCOUNT", "spec.serviceAccountName", None),
        env_field("LEADER_ELECTION_NAMESPACE", "metadata.namespace", None),
    ]
}
