//! Sidecar injection: a pod, its namespace and the injector's configuration become an injected pod and a JSON patch.
//!
//! Pure: no I/O, no clock, no Kubernetes client. What is added is built from typed values, so text of users
//! (annotations, names) can never become structure. The pod itself stays untyped JSON, so that fields which this
//! program does not know survive. What is added, and its order, follow the sidecar and gateway templates of Istio:
//! <https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/>.
//!
//! Templates in Go's template language are not executed; a pod that asks for one is refused with that reason.

pub mod annotation;
pub mod config;
pub mod decision;
mod image;
mod merge;
mod metadata;
mod order;
mod overrides;
pub mod owner;
mod pipeline;
mod probe;
mod prometheus;
pub mod settings;
mod status;
mod strip;
mod template;
mod warning;

pub use config::{ConfigError, InjectorConfig};
pub use decision::{Decision, SkipReason, decide};
pub use owner::Owner;
pub use pipeline::{Injection, Outcome, Params, inject};

/// Name of the proxy's container.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// Name of the init container that programs the capture rules.
pub const INIT_CONTAINER: &str = "istio-init";
/// Name of the init container that checks the capture rules of the network plugin.
pub const VALIDATION_CONTAINER: &str = "istio-validation";
/// User and group of the proxy.
pub const PROXY_UID: i64 = 1337;

/// Why a pod cannot be injected; the pod is refused with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    #[error("{path} is not what a pod has there: {reason}")]
    Pod { path: String, reason: String },
    #[error("annotation {name}: {reason}")]
    Annotation { name: String, reason: String },
    #[error("injector value {name}: {reason}")]
    Value { name: String, reason: String },
    #[error(
        "injection template {0:?} is not built in (sidecar, gateway); templates in Go's template language are not executed"
    )]
    Template(String),
}

impl InjectError {
    pub(crate) fn annotation(name: &str, reason: impl ToString) -> Self {
        Self::Annotation {
            name: name.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn value(name: &str, reason: impl ToString) -> Self {
        Self::Value {
            name: name.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn pod(path: impl Into<String>, reason: impl ToString) -> Self {
        Self::Pod {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}
