//! Types of resources, in the order in which they are pushed.

use ironsail_xds::type_url;

/// What is served. The order is the order of pushes: what a resource refers to comes before it, or with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    Cluster,
    Endpoint,
    Listener,
    Route,
    Secret,
    NameTable,
}

impl ResourceType {
    pub const ALL: [ResourceType; 6] = [
        ResourceType::Cluster,
        ResourceType::Endpoint,
        ResourceType::Listener,
        ResourceType::Route,
        ResourceType::Secret,
        ResourceType::NameTable,
    ];

    pub fn parse(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    pub fn type_url(self) -> &'static str {
        match self {
            ResourceType::Cluster => type_url::CLUSTER,
            ResourceType::Endpoint => type_url::ENDPOINT,
            ResourceType::Listener => type_url::LISTENER,
            ResourceType::Route => type_url::ROUTE,
            ResourceType::Secret => type_url::SECRET,
            ResourceType::NameTable => type_url::NAME_TABLE,
        }
    }

    /// Label of metrics and logs.
    pub fn short(self) -> &'static str {
        match self {
            ResourceType::Cluster => "cds",
            ResourceType::Endpoint => "eds",
            ResourceType::Listener => "lds",
            ResourceType::Route => "rds",
            ResourceType::Secret => "sds",
            ResourceType::NameTable => "nds",
        }
    }

    /// Subscribed as a whole, without names.
    pub fn is_wildcard(self) -> bool {
        matches!(
            self,
            ResourceType::Cluster | ResourceType::Listener | ResourceType::NameTable
        )
    }

    /// A state-of-the-world response must hold all of them: what is absent is gone.
    pub fn is_whole(self) -> bool {
        matches!(
            self,
            ResourceType::Cluster | ResourceType::Listener | ResourceType::NameTable
        )
    }
}
