//! Status that is the same for many kinds.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::wire::{open_enum, wire};

wire! {
    /// What the control plane reports about a mesh object.
    pub struct MeshStatus {
        /// Current state, one entry per type.
        pub conditions: Vec<MeshCondition>,
        /// Findings of the analyzers.
        pub validation_messages: Vec<ValidationMessage>,
        /// Generation that the status is about.
        #[schemars(schema_with = "crate::schema::int_or_string")]
        pub observed_generation: Option<IntOrString>,
    }

    /// One aspect of an object's state.
    pub struct MeshCondition {
        /// Name of the aspect.
        pub r#type: String,
        /// True, False or Unknown.
        pub status: String,
        /// Cause in one CamelCase word.
        pub reason: String,
        /// Cause for people.
        pub message: String,
        /// When it was last looked at, RFC 3339.
        #[schemars(extend("format" = "date-time"))]
        pub last_probe_time: Option<String>,
        /// When it last changed, RFC 3339.
        #[schemars(extend("format" = "date-time"))]
        pub last_transition_time: Option<String>,
        /// Generation that the condition is about.
        #[schemars(schema_with = "crate::schema::int_or_string")]
        pub observed_generation: Option<IntOrString>,
    }

    /// One finding of an analyzer.
    pub struct ValidationMessage {
        /// Which check it comes from.
        pub r#type: MessageType,
        /// How bad it is.
        pub level: MessageLevel,
        /// Where to read more.
        pub documentation_url: String,
    }

    /// A check of an analyzer.
    pub struct MessageType {
        /// Name, such as ReferencedResourceNotFound.
        pub name: String,
        /// Code, such as IST0101.
        pub code: String,
    }
}

open_enum! {
    /// How bad a finding is.
    pub enum MessageLevel {
        Undefined = "UNKNOWN",
        Error = "ERROR",
        Warning = "WARNING",
        Info = "INFO",
    }
}
