//! The pod's own containers of the injected names: their fields win over the template's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::metadata::{containers, name};

/// Image that leaves the choice to the injector.
pub(crate) const AUTO_IMAGE: &str = "auto";

/// What annotation `proxy.istio.io/overrides` keeps, so that another run can apply it again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Overrides {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Value>,
}

impl Overrides {
    /// The pod's containers that `names` lists, without the image when it is `auto`.
    pub fn of_pod(pod: &Value, names: &[&str]) -> Self {
        let collect = |field: &str| {
            containers(pod, field)
                .filter(|container| names.contains(&name(container)))
                .map(|container| {
                    let mut container = container.clone();
                    if let Some(fields) = container.as_object_mut()
                        && fields.get("image").is_some_and(|image| image == AUTO_IMAGE)
                    {
                        fields.shift_remove("image");
                    }
                    container
                })
                .collect()
        };
        Self {
            containers: collect("containers"),
            init_containers: collect("initContainers"),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.init_containers.is_empty()
    }

    pub fn find(&self, wanted: &str) -> Option<&Value> {
        self.containers
            .iter()
            .chain(&self.init_containers)
            .find(|container| name(container) == wanted)
    }
}
