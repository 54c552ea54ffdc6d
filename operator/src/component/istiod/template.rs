//! Templates in Go's template language for control planes that execute them: stock istiod lays the ones of pods over
//! the pod, and makes the objects of a Gateway of the Gateway API from the others.
//!
//! Ironsail's own control plane builds the same from typed values and reads none of these.

/// A template from its file and the blocks that it uses.
macro_rules! template {
    ($name:literal, $($part:literal),+) => {
        (
            $name,
            concat!($(include_str!(concat!("template/", $part)),)+ include_str!(concat!("template/", $name, ".yaml"))),
        )
    };
}

/// Name and text, in the order of the peer's ConfigMap.
pub const TEMPLATES: [(&str, &str); 8] = [
    template!("sidecar", "shared.tpl", "pod.tpl"),
    template!("gateway", "shared.tpl", "pod.tpl"),
    template!("grpc-simple", "shared.tpl"),
    template!("grpc-agent", "shared.tpl", "pod.tpl"),
    template!("waypoint", "shared.tpl", "deployment.tpl"),
    template!("kube-gateway", "shared.tpl", "deployment.tpl"),
    template!(
        "agentgateway",
        "shared.tpl",
        "deployment.tpl",
        "agentgateway.tpl"
    ),
    template!(
        "agentgateway-waypoint",
        "shared.tpl",
        "deployment.tpl",
        "agentgateway.tpl"
    ),
];

/// Text of key `template`, which only control planes before 1.10 read: they fail on a function that nobody has, with a
/// name that says why.
pub const FOR_OLD_CONTROL_PLANES: &str =
    "{{ these_templates_need_a_newer_istiod_than_the_one_that_reads_them }}";

/// Whether an image's tag is a version of istiod that lacks what the templates read (`.NativeSidecars`, since 1.25).
pub fn is_too_old(image: &str) -> bool {
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    let minor = tag.strip_prefix("1.").map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse::<u16>()
    });
    matches!(minor, Some(Ok(minor)) if minor < 25)
}
