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
static PROFILES: [Profile; 10] = [
    Profile {
        name: "default",
        spec: include_str!("profile/default.yaml"),
        values: "",
    },
    Profile {
        name: "ambient",
        spec: include_str!("profile/ambient.yaml"),
        values: include_str!("profile/ambient-values.yaml"),
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
    Profile {
        name: "openshift",
        spec: include_str!("profile/openshift.yaml"),
        values: "",
    },
    Profile {
        name: "openshift-ambient",
        spec: include_str!("profile/openshift-ambient.yaml"),
        values: "",
    },
    Profile {
        name: "preview",
        spec: include_str!("profile/preview.yaml"),
        values: include_str!("profile/preview-values.yaml"),
    },
    Profile {
        name: "remote",
        spec: include_str!("profile/remote.yaml"),
        values: include_str!("profile/remote-values.yaml"),
    },
    Profile {
        name: "stable",
        spec: include_str!("profile/stable.yaml"),
        values: include_str!("profile/stable-values.yaml"),
    },
];

/// A name of older versions, the profile that is used for it, and what has to be said about that.
pub struct Alias {
    name: &'static str,
    profile: &'static str,
    pub note: &'static str,
}

static ALIASES: [Alias; 2] = [
    Alias {
        name: "external",
        profile: "remote",
        note: "is the profile remote since 1.22",
    },
    Alias {
        name: "separate",
        profile: "default",
        note: "is the profile default: istiod has not been separate programs since 1.5",
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
///
/// Names of older versions are understood too; see [`alias`].
pub fn find(name: &str) -> Option<&'static Documents> {
    let name = alias(name).map_or(name, |alias| alias.profile);
    let name = if name.is_empty() { "default" } else { name };
    let index = PROFILES.iter().position(|profile| profile.name == name)?;
    DOCUMENTS.get(index)
}

/// What a name of older versions stands for.
pub fn alias(name: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|alias| alias.name == name)
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
        assert!(find("nonsense").is_none());
        assert!(std::ptr::eq(
            find("").expect("default"),
            find("default").expect("default")
        ));
        for alias in &ALIASES {
            let (old, new) = (find(alias.name), find(alias.profile));
            assert!(std::ptr::eq(old.expect("old"), new.expect("new")));
        }
    }
}
