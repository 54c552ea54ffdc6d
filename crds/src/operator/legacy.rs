//! Fields that older versions had. Stored objects still carry them: they are read, named in a
//! warning and have no effect.

/// A field that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Where it was; `*` stands for any one key.
    pub path: &'static str,
    /// What happened or what to use instead; completes "has no effect: …".
    pub instead: &'static str,
}

const fn removed(path: &'static str, instead: &'static str) -> Removed {
    Removed { path, instead }
}

const ISTIOD: &str = "part of istiod since 1.6";
const MIXER: &str = "Mixer was removed in 1.8";
const ADDON: &str = "addons are installed on their own since 1.8";
const UNUSED: &str = "no version uses it any more";
const PER_COMPONENT: &str = "use spec.components";
const MESH_CONFIG: &str = "use spec.meshConfig";
const PROXY_CONFIG: &str = "use spec.meshConfig.defaultConfig";
const ACCESS_LOG: &str = "use spec.meshConfig.accessLogFile, accessLogFormat, accessLogEncoding";
const EXPANSION: &str = "use a gateway for VMs and remote clusters";
const INGRESS: &str = "use spec.meshConfig.ingressService, ingressClass, ingressControllerMode";

/// Fields outside of `spec.values`.
pub const FIELDS: &[Removed] = &[
    removed(
        "spec.installPackagePath",
        "profiles and manifests are built in",
    ),
    removed("spec.resourceSuffix", "never implemented by any version"),
    removed("spec.namespace", "use spec.values.global.istioNamespace"),
    removed("spec.defaultRevision", "use spec.values.defaultRevision"),
    removed("spec.addonComponents", ADDON),
    removed("spec.components.telemetry", MIXER),
    removed("spec.components.policy", MIXER),
    removed("spec.components.galley", ISTIOD),
    removed("spec.components.citadel", ISTIOD),
    removed("spec.components.nodeAgent", ISTIOD),
    removed("spec.components.sidecarInjector", ISTIOD),
    removed("spec.components.proxy", "use spec.values.global.proxy"),
    removed("spec.components.istiodRemote", "use the profile remote"),
    removed("spec.components.base.spec", "use spec.values.base"),
    removed("spec.components.pilot.spec", "use spec.values.pilot"),
    removed("spec.components.cni.spec", "use spec.values.cni"),
    removed("spec.components.ztunnel.spec", "use spec.values.ztunnel"),
    removed(
        "spec.components.istiodRemote.spec",
        "use the profile remote",
    ),
];

/// Values.
pub const VALUES: &[Removed] = &[
    removed("certmanager", ADDON),
    removed("clusterResources", UNUSED),
    removed("galley", ISTIOD),
    removed("grafana", ADDON),
    removed("istio_cni", "use spec.values.pilot.cni"),
    removed("istiocoredns", ADDON),
    removed("kiali", ADDON),
    removed("mixer", MIXER),
    removed("nodeagent", ISTIOD),
    removed("prometheus", ADDON),
    removed("prometheusOperator", ADDON),
    removed("security", ISTIOD),
    removed("tracing", ADDON),
    removed("version", UNUSED),
    removed("gateways.*.applicationPorts", UNUSED),
    removed("gateways.*.certificates", UNUSED),
    removed("gateways.*.connectTimeout", PROXY_CONFIG),
    removed("gateways.*.debug", UNUSED),
    removed("gateways.*.domain", UNUSED),
    removed("gateways.*.drainDuration", PROXY_CONFIG),
    removed(
        "gateways.*.externalIPs",
        "use k8s.service.externalIPs of the gateway",
    ),
    removed("gateways.*.k8sIngress", INGRESS),
    removed("gateways.*.k8sIngressHttps", INGRESS),
    removed("gateways.*.meshExpansionPorts", EXPANSION),
    removed("gateways.*.sds", "secrets come from istiod since 1.6"),
    removed("gateways.*.zvpn", "use a gateway with AUTO_PASSTHROUGH"),
    removed("global.autoscalingv2API", UNUSED),
    removed(
        "global.centralIstiod",
        "use spec.values.global.externalIstiod",
    ),
    removed("global.certificates", UNUSED),
    removed("global.configNamespace", UNUSED),
    removed(
        "global.configRootNamespace",
        "use spec.meshConfig.rootNamespace",
    ),
    removed("global.controlPlaneSecurityEnabled", "always on since 1.6"),
    removed("global.createRemoteSvcEndpoints", UNUSED),
    removed(
        "global.defaultConfigVisibilitySettings",
        "use spec.meshConfig.defaultServiceExportTo",
    ),
    removed("global.disablePolicyChecks", MIXER),
    removed("global.enableClientSidePolicyCheck", MIXER),
    removed("global.enableHelmTest", UNUSED),
    removed("global.enableTracing", "use spec.meshConfig.enableTracing"),
    removed("global.enabled", UNUSED),
    removed("global.istioRemote", "use the profile remote"),
    removed("global.k8sIngress", INGRESS),
    removed("global.k8sIngressHttps", INGRESS),
    removed(
        "global.localityLbSetting",
        "use spec.meshConfig.localityLbSetting",
    ),
    removed("global.meshExpansion", EXPANSION),
    removed("global.meshExpansionILB", EXPANSION),
    removed("global.monitoringPort", UNUSED),
    removed(
        "global.mtls",
        "use a PeerAuthentication and spec.meshConfig.enableAutoMtls",
    ),
    removed("global.namespace", "use spec.values.global.istioNamespace"),
    removed(
        "global.oneNamespace",
        "use spec.meshConfig.discoverySelectors",
    ),
    removed(
        "global.outboundTrafficPolicy",
        "use spec.meshConfig.outboundTrafficPolicy",
    ),
    removed("global.policyCheckFailOpen", MIXER),
    removed("global.policyNamespace", MIXER),
    removed("global.prometheusNamespace", ADDON),
    removed("global.proxyInit", "use spec.values.global.proxy_init"),
    removed("global.remotePilotCreateSvcEndpoint", UNUSED),
    removed("global.remotePolicyAddress", MIXER),
    removed("global.remoteTelemetryAddress", MIXER),
    removed("global.sds.enabled", "always on since 1.6"),
    removed("global.sds.udsPath", UNUSED),
    removed("global.sds.useNormalJwt", UNUSED),
    removed("global.sds.useTrustworthyJwt", UNUSED),
    removed("global.telemetryNamespace", MIXER),
    removed("global.tokenAud", "use spec.values.global.sds.token.aud"),
    removed("global.trustDomain", "use spec.meshConfig.trustDomain"),
    removed(
        "global.trustDomainAliases",
        "use spec.meshConfig.trustDomainAliases",
    ),
    removed("global.useMCP", UNUSED),
    removed("global.multiCluster.subdomain", UNUSED),
    removed("global.proxy.accessLogEncoding", ACCESS_LOG),
    removed("global.proxy.accessLogFile", ACCESS_LOG),
    removed("global.proxy.accessLogFormat", ACCESS_LOG),
    removed("global.proxy.concurrency", PROXY_CONFIG),
    removed("global.proxy.connectTimeout", PROXY_CONFIG),
    removed("global.proxy.dnsRefreshRate", MESH_CONFIG),
    removed("global.proxy.drainDuration", PROXY_CONFIG),
    removed("global.proxy.enableCoreDumpImage", UNUSED),
    removed("global.proxy.enabled", UNUSED),
    removed("global.proxy.envoyAccessLogService", PROXY_CONFIG),
    removed("global.proxy.envoyMetricsService", PROXY_CONFIG),
    removed("global.proxy.envoyStatsd", PROXY_CONFIG),
    removed("global.proxy.init", UNUSED),
    removed("global.proxy.interceptionMode", PROXY_CONFIG),
    removed(
        "global.proxy.kubevirtInterfaces",
        "use the annotation of pods",
    ),
    removed("global.proxy.parentShutdownDuration", PROXY_CONFIG),
    removed(
        "global.proxy.protocolDetectionTimeout",
        "use spec.meshConfig.protocolDetectionTimeout",
    ),
    removed("global.proxy_init.privileged", UNUSED),
    removed(
        "pilot.additionalArgs",
        "use spec.values.pilot.extraContainerArgs",
    ),
    removed(
        "pilot.appNamespaces",
        "use spec.meshConfig.discoverySelectors",
    ),
    removed("pilot.configNamespace", UNUSED),
    removed("pilot.configSource", "use spec.meshConfig.configSources"),
    removed(
        "pilot.enableProtocolSniffingForInbound",
        "use spec.values.pilot.env",
    ),
    removed(
        "pilot.enableProtocolSniffingForOutbound",
        "use spec.values.pilot.env",
    ),
    removed("pilot.ingress", INGRESS),
    removed("pilot.meshNetworks", "use spec.values.global.meshNetworks"),
    removed("pilot.plugins", UNUSED),
    removed("pilot.podAntiAffinityLabelSelector", PER_COMPONENT),
    removed("pilot.podAntiAffinityTermLabelSelector", PER_COMPONENT),
    removed("pilot.policy", MIXER),
    removed("pilot.sidecar", UNUSED),
    removed("pilot.telemetry", UNUSED),
    removed("pilot.useMCP", UNUSED),
    removed("sidecarInjectorWebhook.enableAccessLog", ACCESS_LOG),
    removed("sidecarInjectorWebhook.enabled", UNUSED),
    removed("sidecarInjectorWebhook.hub", ISTIOD),
    removed("sidecarInjectorWebhook.image", ISTIOD),
    removed("sidecarInjectorWebhook.injectLabel", UNUSED),
    removed("sidecarInjectorWebhook.injectPodRedirectAnnot", UNUSED),
    removed("sidecarInjectorWebhook.lifecycle", UNUSED),
    removed("sidecarInjectorWebhook.nodeSelector", ISTIOD),
    removed("sidecarInjectorWebhook.objectSelector", UNUSED),
    removed("sidecarInjectorWebhook.podAnnotations", ISTIOD),
    removed(
        "sidecarInjectorWebhook.podAntiAffinityLabelSelector",
        ISTIOD,
    ),
    removed(
        "sidecarInjectorWebhook.podAntiAffinityTermLabelSelector",
        ISTIOD,
    ),
    removed("sidecarInjectorWebhook.replicaCount", ISTIOD),
    removed("sidecarInjectorWebhook.resources", ISTIOD),
    removed("sidecarInjectorWebhook.rollingMaxSurge", ISTIOD),
    removed("sidecarInjectorWebhook.rollingMaxUnavailable", ISTIOD),
    removed("sidecarInjectorWebhook.selfSigned", ISTIOD),
    removed("sidecarInjectorWebhook.tag", ISTIOD),
    removed("sidecarInjectorWebhook.tolerations", ISTIOD),
    removed("sidecarInjectorWebhook.useLegacySelectors", UNUSED),
    removed("telemetry.v1", MIXER),
    removed("telemetry.v2.accessLogPolicy", "use a Telemetry object"),
    removed("telemetry.v2.metadataExchange", "always on"),
    removed("telemetry.v2.prometheus.wasmEnabled", UNUSED),
    removed(
        "telemetry.v2.stackdriver.disableOutbound",
        "use a Telemetry object",
    ),
    removed(
        "telemetry.v2.stackdriver.inboundAccessLogging",
        "use a Telemetry object",
    ),
    removed("telemetry.v2.stackdriver.logging", "use a Telemetry object"),
    removed(
        "telemetry.v2.stackdriver.monitoring",
        "use a Telemetry object",
    ),
    removed(
        "telemetry.v2.stackdriver.outboundAccessLogging",
        "use a Telemetry object",
    ),
    removed("telemetry.v2.stackdriver.topology", UNUSED),
];

/// The entry of a path of keys below `spec.values`, or of one of its parents.
#[must_use]
pub fn removed_value(keys: &[&str]) -> Option<&'static Removed> {
    VALUES.iter().find(|entry| {
        let mut parts = entry.path.split('.');
        let mut keys = keys.iter();
        parts.all(|part| keys.next().is_some_and(|key| part == "*" || part == *key))
    })
}
