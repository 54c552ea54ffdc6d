//! The components of an IstioOperator.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::operator::k8s::KubernetesResourcesSpec;
use crate::wire::{Text, wire};

wire! {
    /// The parts to install and their settings.
    pub struct IstioComponentSpec {
        /// CRDs, default validation and the reader role; on by default.
        pub base: Option<BaseComponentSpec>,
        /// The control plane, istiod; on by default.
        pub pilot: Option<ComponentSpec>,
        /// The CNI node agent; off by default.
        pub cni: Option<ComponentSpec>,
        /// The node proxy of ambient mode; off by default.
        pub ztunnel: Option<ComponentSpec>,
        /// Not used since 1.24: a remote cluster uses the profile remote.
        pub istiod_remote: Option<ComponentSpec>,
        /// Ingress gateways; the list replaces the profile's, which has istio-ingressgateway.
        pub ingress_gateways: Option<Vec<GatewaySpec>>,
        /// Egress gateways; the list replaces the profile's, which has istio-egressgateway, off.
        pub egress_gateways: Option<Vec<GatewaySpec>>,
    }

    /// Settings of the base component.
    pub struct BaseComponentSpec {
        /// Whether it is installed.
        pub enabled: Option<bool>,
        /// Settings of its objects; only overlays have an effect here.
        pub k8s: Option<KubernetesResourcesSpec>,
        /// Not used; free form of old versions.
        pub spec: Option<Map<String, Value>>,
    }

    /// Settings of a component.
    pub struct ComponentSpec {
        /// Whether it is installed; true if the component is given and this is not.
        pub enabled: Option<bool>,
        /// Namespace; default is the one of the control plane. It must exist.
        pub namespace: Option<String>,
        /// Registry and path of its images; default is the hub of the spec.
        pub hub: Option<String>,
        /// Tag of its images; default is the tag of the spec. Quote it.
        pub tag: Option<Text>,
        /// Settings of its Kubernetes objects.
        pub k8s: Option<KubernetesResourcesSpec>,
        /// Not used; free form of old versions.
        pub spec: Option<Map<String, Value>>,
    }

    /// Settings of a gateway.
    pub struct GatewaySpec {
        /// Whether it is installed; true if not given.
        pub enabled: Option<bool>,
        /// Namespace; default is the one of the control plane. It must exist.
        pub namespace: Option<String>,
        /// Name of its Deployment and Service.
        pub name: Option<String>,
        /// Labels of its pods and of the selectors, which can't change later.
        pub label: BTreeMap<String, String>,
        /// Registry and path of its image; default is the hub of the spec.
        pub hub: Option<String>,
        /// Tag of its image; default is the tag of the spec. Quote it.
        pub tag: Option<Text>,
        /// Settings of its Kubernetes objects.
        pub k8s: Option<KubernetesResourcesSpec>,
    }
}
