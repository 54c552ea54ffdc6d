//! API group `install.istio.io`: the
//! [IstioOperator](https://istio.io/v1.23/docs/reference/config/istio.operator.v1alpha1/) object.

pub mod component;
pub mod k8s;
pub mod legacy;
pub mod mesh_config;
pub mod spec;
pub mod status;
pub mod values;

pub use component::{BaseComponentSpec, ComponentSpec, GatewaySpec, IstioComponentSpec};
pub use k8s::{K8sObjectOverlay, KubernetesResourcesSpec, PathValue};
pub use spec::{IstioOperator, IstioOperatorSpec};
pub use status::{ComponentStatus, IstioOperatorStatus, PlanStatus, Status};
