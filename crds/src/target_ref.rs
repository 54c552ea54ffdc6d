//! References from policies to the objects they are for.

use crate::wire::wire;

wire! {
    /// An object that a policy is for: a Gateway, GatewayClass, Service or ServiceEntry.
    #[schemars(extend("required" = ["kind", "name"]))]
    pub struct PolicyTargetReference {
        /// API group; empty for Services.
        #[schemars(
            length(max = 253),
            extend("pattern" = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        )]
        pub group: String,
        /// Kind.
        #[schemars(
            length(min = 1, max = 63),
            extend("pattern" = "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")
        )]
        pub kind: String,
        /// Name.
        #[schemars(length(min = 1, max = 253))]
        pub name: String,
        /// Must be empty: other namespaces can't be referred to.
        #[schemars(extend("x-kubernetes-validations" = [{
            "rule": "self.size() == 0",
            "message": "cross namespace referencing is not currently supported",
        }]))]
        pub namespace: String,
    }
}
