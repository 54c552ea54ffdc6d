//! The spec of an IstioOperator.

use serde_json::{Map, Value};

use crate::kind::{self, Kind};
use crate::object::{Object, Spec};
use crate::operator::component::IstioComponentSpec;
use crate::operator::status::IstioOperatorStatus;
use crate::wire::{Text, wire};

/// An IstioOperator object.
pub type IstioOperator = Object<IstioOperatorSpec>;

impl Spec for IstioOperatorSpec {
    type Status = IstioOperatorStatus;
    const KIND: &'static Kind = &kind::ISTIO_OPERATOR;
}

wire! {
    /// What the operator installs: a profile and the differences from it.
    pub struct IstioOperatorSpec {
        /// Profile to start from: default (the default), demo, minimal, remote, empty, preview,
        /// stable, ambient, openshift, openshift-ambient.
        pub profile: Option<String>,
        /// Not used: profiles and manifests are built in.
        pub install_package_path: Option<String>,
        /// Registry and path of the images, such as registry.example.com/mesh.
        pub hub: Option<String>,
        /// Tag of the images. Quote it: YAML reads 1.10 as 1.1.
        pub tag: Option<Text>,
        /// Not used; never implemented by any version.
        pub resource_suffix: Option<String>,
        /// Not used: components are installed in values.global.istioNamespace, istio-system by
        /// default, or in their own namespace.
        pub namespace: Option<String>,
        /// Revision of the control plane, a DNS label; several revisions can run side by side.
        pub revision: Option<Text>,
        /// Not used; see values.defaultRevision.
        pub default_revision: Option<bool>,
        /// Behave like this minor version where defaults changed, such as "1.28".
        pub compatibility_version: Option<Text>,
        /// Mesh configuration, merged over the defaults; see the reference of MeshConfig.
        pub mesh_config: Option<Map<String, Value>>,
        /// The parts to install and their settings.
        pub components: Option<IstioComponentSpec>,
        /// Not used: addons are installed on their own since 1.8. An enabled one is an error.
        pub addon_components: Option<Map<String, Value>>,
        /// Values as of the Helm charts; they win over the fields above.
        #[schemars(schema_with = "crate::schema::values")]
        pub values: Option<Map<String, Value>>,
        /// Values that are not checked; merged over values.
        pub unvalidated_values: Option<Map<String, Value>>,
    }
}
