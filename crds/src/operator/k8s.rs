//! Settings of a component's Kubernetes objects.
//!
//! Types of Kubernetes itself stay open here; validation decodes them strictly, but for `null` and
//! `$patch`, which have a meaning where they are merged.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::wire::wire;

wire! {
    /// Settings of a component's Kubernetes objects, merged over what the profile renders.
    pub struct KubernetesResourcesSpec {
        /// Affinity of the pods.
        pub affinity: Option<Map<String, Value>>,
        /// Environment of the container, merged by name.
        pub env: Option<Vec<EnvVar>>,
        /// Settings of the HorizontalPodAutoscaler.
        pub hpa_spec: Option<HpaSpec>,
        /// Always, IfNotPresent or Never.
        pub image_pull_policy: Option<String>,
        /// Node labels that the pods need.
        pub node_selector: Option<BTreeMap<String, String>>,
        /// Patches of any object of the component, by path.
        pub overlays: Option<Vec<K8sObjectOverlay>>,
        /// Annotations of the pods.
        pub pod_annotations: Option<BTreeMap<String, String>>,
        /// Settings of the PodDisruptionBudget.
        pub pod_disruption_budget: Option<PodDisruptionBudgetSpec>,
        /// Priority class of the pods.
        pub priority_class_name: Option<String>,
        /// Readiness probe of the container.
        pub readiness_probe: Option<Map<String, Value>>,
        /// Number of pods; an autoscaler may override it.
        pub replica_count: Option<u32>,
        /// Resources of the container.
        pub resources: Option<Resources>,
        /// Security context of the pods.
        pub security_context: Option<Map<String, Value>>,
        /// Settings of the Service.
        pub service: Option<ServiceSpec>,
        /// Annotations of the Service.
        pub service_annotations: Option<BTreeMap<String, String>>,
        /// Strategy of the Deployment.
        pub strategy: Option<DeploymentStrategy>,
        /// Tolerations of the pods; the list replaces the rendered one.
        pub tolerations: Option<Vec<Map<String, Value>>>,
        /// Volumes of the pods, merged by name.
        pub volumes: Option<Vec<Map<String, Value>>>,
        /// Volume mounts of the container, merged by path.
        pub volume_mounts: Option<Vec<Map<String, Value>>>,
    }

    /// Patches of one object.
    pub struct K8sObjectOverlay {
        /// Not used for finding the object.
        pub api_version: Option<String>,
        /// Kind of the object.
        pub kind: Option<String>,
        /// Name of the object.
        pub name: Option<String>,
        /// The patches, in order.
        pub patches: Option<Vec<PathValue>>,
    }

    /// A patch.
    pub struct PathValue {
        /// Such as spec.template.spec.containers.[name:discovery].args.[-1].
        pub path: Option<String>,
        /// New value; none deletes.
        pub value: Value,
    }
}

/// Kubernetes types whose first level has descriptions but which are kept as written.
macro_rules! described {
    ($( $(#[$meta:meta])* $name:ident = [$( $field:literal: $text:literal, )*]; )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Map<String, Value>);

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                crate::schema::described(&[$(($field, $text)),*])
            }
        }

        impl std::ops::Deref for $name {
            type Target = Map<String, Value>;
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl From<$name> for Value {
            fn from(value: $name) -> Self {
                Self::Object(value.0)
            }
        }
    )*};
}

described! {
    /// A Kubernetes `EnvVar`.
    EnvVar = [
        "name": "Name.",
        "value": "Value.",
        "valueFrom": "Field, resource, ConfigMap or Secret to take the value from.",
    ];
    /// A Kubernetes `HorizontalPodAutoscalerSpec` (autoscaling/v2).
    HpaSpec = [
        "minReplicas": "Fewest pods.",
        "maxReplicas": "Most pods.",
        "metrics": "What decides; the list replaces the rendered one.",
        "behavior": "How fast it scales.",
        "scaleTargetRef": "What is scaled.",
    ];
    /// A Kubernetes `PodDisruptionBudgetSpec`.
    PodDisruptionBudgetSpec = [
        "minAvailable": "Fewest pods, number or percent.",
        "maxUnavailable": "Most pods missing, number or percent; replaces minAvailable.",
        "selector": "Pods that count.",
        "unhealthyPodEvictionPolicy": "Whether pods that are not ready may be evicted.",
    ];
    /// Kubernetes `ResourceRequirements`.
    Resources = [
        "limits": "Most it may use.",
        "requests": "What is reserved.",
        "claims": "Devices it uses.",
    ];
    /// A Kubernetes `ServiceSpec`.
    ServiceSpec = [
        "type": "ClusterIP, NodePort, LoadBalancer or ExternalName.",
        "ports": "Ports; for gateways the list replaces the profile's.",
        "selector": "Pods behind it.",
        "clusterIP": "Virtual address.",
        "clusterIPs": "Virtual addresses of both families.",
        "externalIPs": "Further addresses.",
        "externalName": "DNS name of the type ExternalName.",
        "externalTrafficPolicy": "Cluster, or Local to keep the client's address.",
        "internalTrafficPolicy": "Cluster or Local.",
        "trafficDistribution": "Preference of near endpoints.",
        "healthCheckNodePort": "Port of the node's health check.",
        "ipFamilies": "IPv4, IPv6.",
        "ipFamilyPolicy": "SingleStack, PreferDualStack or RequireDualStack.",
        "loadBalancerIP": "Address of the load balancer.",
        "loadBalancerClass": "Implementation of the load balancer.",
        "loadBalancerSourceRanges": "Client ranges that may connect.",
        "allocateLoadBalancerNodePorts": "Whether a LoadBalancer opens node ports.",
        "publishNotReadyAddresses": "Whether pods that are not ready count.",
        "sessionAffinity": "None or ClientIP.",
        "sessionAffinityConfig": "Time of the affinity.",
    ];
    /// A Kubernetes `DeploymentStrategy`.
    DeploymentStrategy = [
        "type": "RollingUpdate or Recreate.",
        "rollingUpdate": "maxSurge and maxUnavailable.",
    ];
}

impl K8sObjectOverlay {
    /// `Kind name`, for messages.
    #[must_use]
    pub fn target(&self) -> String {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("{} {}", text(&self.kind), text(&self.name))
    }
}
