//! The status of an IstioOperator.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::wire::{open_enum, wire};

wire! {
    /// What the operator reports.
    pub struct IstioOperatorStatus {
        /// State of the whole installation: the worst of its components.
        pub status: Status,
        /// Explanation for people.
        pub message: String,
        /// Version that is installed.
        pub version: String,
        /// State per component: Base, Pilot, Cni, IngressGateways, EgressGateways, Ztunnel.
        pub component_status: BTreeMap<String, ComponentStatus>,
        /// Generation of the spec that this is about.
        pub observed_generation: Option<i64>,
        /// The plan of the current spec, and what accepting it would change.
        pub plan: Option<PlanStatus>,
        /// Aspects of the state in the form of Kubernetes; Ready is the sum.
        #[schemars(schema_with = "crate::schema::conditions")]
        pub conditions: Vec<Condition>,
    }

    /// What the operator would install by the current spec.
    pub struct PlanStatus {
        /// Names the plan of the current spec, for its approval.
        pub hash: String,
        /// Names the plan that is in force; none if nothing was accepted yet.
        pub accepted: String,
        /// How many objects accepting would create, change and delete; none if it is in force.
        pub summary: String,
        /// What accepting would delete or make anew.
        pub destructive: Vec<String>,
        /// Whether the approval of this plan is void: what it would delete or make anew changed
        /// after it was shown.
        pub void: bool,
    }

    /// State of a component.
    pub struct ComponentStatus {
        /// State.
        pub status: Status,
        /// Version that is installed.
        pub version: String,
        /// What went wrong.
        pub error: String,
    }
}

open_enum! {
    /// State of the installation or of a component.
    pub enum Status {
        /// Not installed.
        None = "NONE",
        /// Changing to another version.
        Updating = "UPDATING",
        /// Applying, or waiting for pods.
        Reconciling = "RECONCILING",
        /// As wanted.
        Healthy = "HEALTHY",
        /// Not as wanted; tried again.
        Error = "ERROR",
        /// Waits for a person.
        ActionRequired = "ACTION_REQUIRED",
    }
}
