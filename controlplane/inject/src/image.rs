//! References of the proxy's image.

use ironsail_mesh::injector_values::Global;

/// Variants that a tag may already end with.
const KNOWN_TYPES: [&str; 3] = ["default", "debug", "distroless"];

/// `requested` when it is a whole reference, otherwise `hub/<name>:<tag>[-<type>]`.
pub(crate) fn reference(global: &Global, requested: &str, image_type: Option<&str>) -> String {
    if requested.contains('/') {
        return requested.to_owned();
    }
    let name = match global.proxy.image.as_str() {
        "" => "proxyv2",
        name => name,
    };
    let image_type = image_type.unwrap_or(&global.variant);
    format!("{}/{name}:{}", global.hub, tag(&global.tag, image_type))
}

fn tag(tag: &str, image_type: &str) -> String {
    if image_type.is_empty() {
        return tag.to_owned();
    }
    let bare = KNOWN_TYPES
        .iter()
        .find_map(|known| tag.strip_suffix(known)?.strip_suffix('-'))
        .unwrap_or(tag);
    match image_type {
        "default" => bare.to_owned(),
        other => format!("{bare}-{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_replace_known_suffixes() {
        let global = Global {
            hub: "example.com/mesh".to_owned(),
            tag: "1.32.0-distroless".to_owned(),
            ..Default::default()
        };
        assert_eq!(
            reference(&global, "proxyv2", None),
            "example.com/mesh/proxyv2:1.32.0-distroless"
        );
        assert_eq!(
            reference(&global, "proxyv2", Some("debug")),
            "example.com/mesh/proxyv2:1.32.0-debug"
        );
        assert_eq!(
            reference(&global, "proxyv2", Some("default")),
            "example.com/mesh/proxyv2:1.32.0"
        );
        assert_eq!(reference(&global, "a/b:c", Some("debug")), "a/b:c");
    }
}
