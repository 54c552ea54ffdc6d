//! Fields that older versions had. Stored objects still carry them: they are read, named in a
//! warning and have no effect.

/// A field that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Where it was.
    pub path: &'static str,
    /// What to use instead; completes "no effect: …".
    pub instead: &'static str,
}

const fn removed(path: &'static str, instead: &'static str) -> Removed {
    Removed { path, instead }
}

const IN_ISTIOD: &str = "part of istiod since 1.6";
const MIXER: &str = "Mixer was removed in 1.8";

/// Fields outside of `spec.values`.
pub const FIELDS: &[Removed] = &[
    removed(
        "spec.installPackagePath",
        "profiles and manifests are built in",
    ),
    removed("spec.resourceSuffix", "never implemented by any version"),
    removed("spec.namespace", "use spec.values.global.istioNamespace"),
    removed("spec.defaultRevision", "use spec.values.defaultRevision"),
    removed(
        "spec.addonComponents",
        "addons are installed on their own since 1.8",
    ),
    removed("spec.components.telemetry", MIXER),
    removed("spec.components.policy", MIXER),
    removed("spec.components.galley", IN_ISTIOD),
    removed("spec.components.citadel", IN_ISTIOD),
    removed("spec.components.nodeAgent", IN_ISTIOD),
    removed("spec.components.sidecarInjector", IN_ISTIOD),
    removed("spec.components.proxy", "use spec.values.global.proxy"),
    removed("spec.components.istiodRemote", "use the profile remote"),
    removed("spec.components.base.spec", "use spec.values.base"),
    removed("spec.components.pilot.spec", "use spec.values.pilot"),
    removed("spec.components.cni.spec", "use spec.values.cni"),
    removed("spec.components.ztunnel.spec", "use spec.values.ztunnel"),
];
