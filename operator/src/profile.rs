//! Built-in profiles: which components are on, and the values file that goes with them.

use std::sync::LazyLock;

use serde_json::Value;

/// A named starting point of a spec.
pub struct Profile {
    /// As users write it.
    pub name: &'static str,
    /// The differences from the profile `default`, as an IstioOperator spec.
    spec: &'static str,
    /// What the values file of the same name lays under the user's values.
    values: &'static str,
}

/// Every profile of this version; `default` comes first.
static PROFILES: [Profile; 4] = [
    Profile {
        name: "default",
        spec: include_str!("profile/default.yaml"),
        values: "",
    },
    Profile {
        name: "demo",
        spec: include_str!("profile/demo.yaml"),
        values: include_str!("profile/demo-values.yaml"),
    },
    Profile {
        name: "empty",
        spec: include_str!("profile/empty.yaml"),
        values: "",
    },
    Profile {
        name: "minimal",
        spec: include_str!("profile/minimal.yaml"),
        values: "",
    },
];

/// The documents of a profile, parsed once.
pub struct Documents {
    pub spec: Value,
    pub values: Value,
}

static DOCUMENTS: LazyLock<Vec<Documents>> = LazyLock::new(|| {
    let parse = |text: &str| match text {
        "" => Value::Object(serde_json::Map::new()),
        text => serde_yaml_ng::from_str(text).expect("a test parses every built-in profile"),
    };
    PROFILES
        .iter()
        .map(|profile| Documents {
            spec: parse(profile.spec),
            values: parse(profile.values),
        })
        .collect()
});

/// The profile of a name; the empty name is `default`.
pub fn find(name: &str) -> Option<&'static Documents> {
    let name = if name.is_empty() { "default" } else { name };
    let index = PROFILES.iter().position(|profile| profile.name == name)?;
    DOCUMENTS.get(index)
}

/// Names of all profiles, for messages.
pub fn names() -> Vec<&'static str> {
    PROFILES.iter().map(|profile| profile.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_parses() {
        for name in names() {
            let profile = find(name).expect("listed");
            assert!(
                profile.spec.is_object() && profile.values.is_object(),
                "{name}"
            );
        }
        assert!(find("ambient").is_none());
        assert!(std::ptr::eq(
            find("").expect("default"),
            find("default").expect("default")
        ));
    }
}
