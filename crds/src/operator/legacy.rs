//! Fields that older versions had. Stored objects still carry them: they are read, named in a
//! warning and have no effect.

use crate::diagnostic::Diagnostic;

/// Begins what is said about a field that is gone.
pub(crate) const NO_EFFECT: &str = "has no effect: ";

/// A field that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Where it was; `*` stands for any one key.
    pub path: &'static str,
    /// What happened or what to use instead; completes "has no effect: …".
    pub instead: &'static str,
}

macro_rules! removed {
    ($($path:literal: $instead:expr;)*) => {
        &[$(Removed { path: $path, instead: $instead }),*]
    };
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
pub const FIELDS: &[Removed] = removed! {
    "spec.installPackagePath": "profiles and manifests are built in";
    "spec.resourceSuffix": "never implemented by any version";
    "spec.namespace": "use spec.values.global.istioNamespace";
    "spec.defaultRevision": "use spec.values.defaultRevision";
    "spec.addonComponents": ADDON;
    "spec.components.telemetry": MIXER;
    "spec.components.policy": MIXER;
    "spec.components.galley": ISTIOD;
    "spec.components.citadel": ISTIOD;
    "spec.components.nodeAgent": ISTIOD;
    "spec.components.sidecarInjector": ISTIOD;
    "spec.components.proxy": "use spec.values.global.proxy";
    "spec.components.istiodRemote": "use the profile remote";
    "spec.components.base.spec": "use spec.values.base";
    "spec.components.pilot.spec": "use spec.values.pilot";
    "spec.components.cni.spec": "use spec.values.cni";
    "spec.components.ztunnel.spec": "use spec.values.ztunnel";
    "spec.components.istiodRemote.spec": "use the profile remote";
};

/// Values.
pub const VALUES: &[Removed] = removed! {
    "certmanager": ADDON;
    "clusterResources": UNUSED;
    "galley": ISTIOD;
    "grafana": ADDON;
    "istio_cni": "use spec.values.pilot.cni";
    "istiocoredns": ADDON;
    "kiali": ADDON;
    "mixer": MIXER;
    "nodeagent": ISTIOD;
    "prometheus": ADDON;
    "prometheusOperator": ADDON;
    "security": ISTIOD;
    "tracing": ADDON;
    "version": UNUSED;
    "gateways.*.applicationPorts": UNUSED;
    "gateways.*.certificates": UNUSED;
    "gateways.*.connectTimeout": PROXY_CONFIG;
    "gateways.*.debug": UNUSED;
    "gateways.*.domain": UNUSED;
    "gateways.*.drainDuration": PROXY_CONFIG;
    "gateways.*.externalIPs": "use k8s.service.externalIPs of the gateway";
    "gateways.*.k8sIngress": INGRESS;
    "gateways.*.k8sIngressHttps": INGRESS;
    "gateways.*.meshExpansionPorts": EXPANSION;
    "gateways.*.sds": "secrets come from istiod since 1.6";
    "gateways.*.zvpn": "use a gateway with AUTO_PASSTHROUGH";
    "global.autoscalingv2API": UNUSED;
    "global.centralIstiod": "use spec.values.global.externalIstiod";
    "global.certificates": UNUSED;
    "global.configNamespace": UNUSED;
    "global.configRootNamespace": "use spec.meshConfig.rootNamespace";
    "global.controlPlaneSecurityEnabled": "always on since 1.6";
    "global.createRemoteSvcEndpoints": UNUSED;
    "global.defaultConfigVisibilitySettings": "use spec.meshConfig.defaultServiceExportTo";
    "global.disablePolicyChecks": MIXER;
    "global.enableClientSidePolicyCheck": MIXER;
    "global.enableHelmTest": UNUSED;
    "global.enableTracing": "use spec.meshConfig.enableTracing";
    "global.enabled": UNUSED;
    "global.istioRemote": "use the profile remote";
    "global.k8sIngress": INGRESS;
    "global.k8sIngressHttps": INGRESS;
    "global.localityLbSetting": "use spec.meshConfig.localityLbSetting";
    "global.meshExpansion": EXPANSION;
    "global.meshExpansionILB": EXPANSION;
    "global.monitoringPort": UNUSED;
    "global.mtls": "use a PeerAuthentication and spec.meshConfig.enableAutoMtls";
    "global.namespace": "use spec.values.global.istioNamespace";
    "global.oneNamespace": "use spec.meshConfig.discoverySelectors";
    "global.outboundTrafficPolicy": "use spec.meshConfig.outboundTrafficPolicy";
    "global.policyCheckFailOpen": MIXER;
    "global.policyNamespace": MIXER;
    "global.prometheusNamespace": ADDON;
    "global.proxyInit": "use spec.values.global.proxy_init";
    "global.remotePilotCreateSvcEndpoint": UNUSED;
    "global.remotePolicyAddress": MIXER;
    "global.remoteTelemetryAddress": MIXER;
    "global.sds.enabled": "always on since 1.6";
    "global.sds.udsPath": UNUSED;
    "global.sds.useNormalJwt": UNUSED;
    "global.sds.useTrustworthyJwt": UNUSED;
    "global.telemetryNamespace": MIXER;
    "global.tokenAud": "use spec.values.global.sds.token.aud";
    "global.trustDomain": "use spec.meshConfig.trustDomain";
    "global.trustDomainAliases": "use spec.meshConfig.trustDomainAliases";
    "global.useMCP": UNUSED;
    "global.multiCluster.subdomain": UNUSED;
    "global.proxy.accessLogEncoding": ACCESS_LOG;
    "global.proxy.accessLogFile": ACCESS_LOG;
    "global.proxy.accessLogFormat": ACCESS_LOG;
    "global.proxy.concurrency": PROXY_CONFIG;
    "global.proxy.connectTimeout": PROXY_CONFIG;
    "global.proxy.dnsRefreshRate": MESH_CONFIG;
    "global.proxy.drainDuration": PROXY_CONFIG;
    "global.proxy.enableCoreDumpImage": UNUSED;
    "global.proxy.enabled": UNUSED;
    "global.proxy.envoyAccessLogService": PROXY_CONFIG;
    "global.proxy.envoyMetricsService": PROXY_CONFIG;
    "global.proxy.envoyStatsd": PROXY_CONFIG;
    "global.proxy.init": UNUSED;
    "global.proxy.interceptionMode": PROXY_CONFIG;
    "global.proxy.kubevirtInterfaces": "use the annotation of pods";
    "global.proxy.parentShutdownDuration": PROXY_CONFIG;
    "global.proxy.protocolDetectionTimeout": "use spec.meshConfig.protocolDetectionTimeout";
    "global.proxy_init.privileged": UNUSED;
    "pilot.additionalArgs": "use spec.values.pilot.extraContainerArgs";
    "pilot.appNamespaces": "use spec.meshConfig.discoverySelectors";
    "pilot.configNamespace": UNUSED;
    "pilot.configSource": "use spec.meshConfig.configSources";
    "pilot.enableProtocolSniffingForInbound": "use spec.values.pilot.env";
    "pilot.enableProtocolSniffingForOutbound": "use spec.values.pilot.env";
    "pilot.ingress": INGRESS;
    "pilot.meshNetworks": "use spec.values.global.meshNetworks";
    "pilot.plugins": UNUSED;
    "pilot.podAntiAffinityLabelSelector": PER_COMPONENT;
    "pilot.podAntiAffinityTermLabelSelector": PER_COMPONENT;
    "pilot.policy": MIXER;
    "pilot.sidecar": UNUSED;
    "pilot.telemetry": UNUSED;
    "pilot.useMCP": UNUSED;
    "sidecarInjectorWebhook.enableAccessLog": ACCESS_LOG;
    "sidecarInjectorWebhook.enabled": UNUSED;
    "sidecarInjectorWebhook.hub": ISTIOD;
    "sidecarInjectorWebhook.image": ISTIOD;
    "sidecarInjectorWebhook.injectLabel": UNUSED;
    "sidecarInjectorWebhook.injectPodRedirectAnnot": UNUSED;
    "sidecarInjectorWebhook.lifecycle": UNUSED;
    "sidecarInjectorWebhook.nodeSelector": ISTIOD;
    "sidecarInjectorWebhook.objectSelector": UNUSED;
    "sidecarInjectorWebhook.podAnnotations": ISTIOD;
    "sidecarInjectorWebhook.podAntiAffinityLabelSelector": ISTIOD;
    "sidecarInjectorWebhook.podAntiAffinityTermLabelSelector": ISTIOD;
    "sidecarInjectorWebhook.replicaCount": ISTIOD;
    "sidecarInjectorWebhook.resources": ISTIOD;
    "sidecarInjectorWebhook.rollingMaxSurge": ISTIOD;
    "sidecarInjectorWebhook.rollingMaxUnavailable": ISTIOD;
    "sidecarInjectorWebhook.selfSigned": ISTIOD;
    "sidecarInjectorWebhook.tag": ISTIOD;
    "sidecarInjectorWebhook.tolerations": ISTIOD;
    "sidecarInjectorWebhook.useLegacySelectors": UNUSED;
    "telemetry.v1": MIXER;
    "telemetry.v2.accessLogPolicy": "use a Telemetry object";
    "telemetry.v2.metadataExchange": "always on";
    "telemetry.v2.prometheus.wasmEnabled": UNUSED;
    "telemetry.v2.stackdriver.disableOutbound": "use a Telemetry object";
    "telemetry.v2.stackdriver.inboundAccessLogging": "use a Telemetry object";
    "telemetry.v2.stackdriver.logging": "use a Telemetry object";
    "telemetry.v2.stackdriver.monitoring": "use a Telemetry object";
    "telemetry.v2.stackdriver.outboundAccessLogging": "use a Telemetry object";
    "telemetry.v2.stackdriver.topology": UNUSED;
};

/// Whether a finding names a field that is gone.
#[must_use]
pub fn is_about(finding: &Diagnostic) -> bool {
    finding.message.starts_with(NO_EFFECT)
        && match finding.path.strip_prefix("spec.values.") {
            Some(keys) => removed_value(&keys.split('.').collect::<Vec<_>>()).is_some(),
            None => FIELDS.iter().any(|entry| entry.path == finding.path),
        }
}

/// The entry of a path of keys below `spec.values`, or of one of its parents.
#[must_use]
pub fn removed_value(keys: &[&str]) -> Option<&'static Removed> {
    VALUES.iter().find(|entry| {
        let mut parts = entry.path.split('.');
        let mut keys = keys.iter();
        parts.all(|part| keys.next().is_some_and(|key| part == "*" || part == *key))
    })
}
