//! The known values: names and meaning as in the charts of Istio 1.32, in one table that is both
//! the schema of `spec.values` and what its strict check accepts.

/// A value.
#[derive(Debug)]
pub struct Known {
    /// Key.
    pub name: &'static str,
    /// What may stand there.
    pub shape: Shape,
    /// Meaning and default, for `kubectl explain`.
    pub text: &'static str,
}

/// What may stand at a key.
#[derive(Debug)]
pub enum Shape {
    /// Text.
    Text,
    /// Text, also written as a bare number.
    Scalar,
    /// A boolean.
    Flag,
    /// A number, also written as text.
    Number,
    /// A list of anything.
    List,
    /// An object with any keys.
    Open,
    /// An object with these keys and no others.
    Group(&'static [Known]),
}

use Shape::{Flag, Group, List, Number, Open, Scalar, Text};

const fn known(name: &'static str, shape: Shape, text: &'static str) -> Known {
    Known { name, shape, text }
}

/// Keys of `spec.values`.
pub const VALUES: &[Known] = &[
    known("base", Group(BASE), "CRDs and default validation."),
    known("cni", Group(CNI), "The CNI node agent."),
    known(
        "compatibilityVersion",
        Scalar,
        "As spec.compatibilityVersion.",
    ),
    known(
        "defaultRevision",
        Text,
        "Revision that validates by default; empty is none.",
    ),
    known(
        "experimental",
        Group(EXPERIMENTAL),
        "What may change or go.",
    ),
    known(
        "gatewayClasses",
        Open,
        "Defaults for gateways of a GatewayClass, by class.",
    ),
    known(
        "gateways",
        Group(GATEWAYS),
        "Settings of all ingress and all egress gateways.",
    ),
    known("global", Group(GLOBAL), "What several components share."),
    known(
        "istiodRemote",
        Group(ISTIOD_REMOTE),
        "Use of a control plane elsewhere.",
    ),
    known("meshConfig", Open, "As spec.meshConfig."),
    known(
        "ownerName",
        Text,
        "Value of the label of the owning resource.",
    ),
    known("pilot", Group(PILOT), "The control plane."),
    known("platform", Text, "As global.platform."),
    known(
        "profile",
        Text,
        "Set of values to start from, without its components.",
    ),
    known("revision", Text, "As spec.revision."),
    known(
        "revisionTags",
        List,
        "Further names of the revision for injection.",
    ),
    known(
        "sidecarInjectorWebhook",
        Group(INJECTOR),
        "Injection of sidecars.",
    ),
    known("telemetry", Group(TELEMETRY), "Default metrics."),
    known(
        "ztunnel",
        Open,
        "The node proxy of ambient mode; keys are not checked.",
    ),
];

const BASE: &[Known] = &[
    known(
        "enableCRDTemplates",
        Flag,
        "Render the CRDs with common labels.",
    ),
    known("enableIstioConfigCRDs", Flag, "No effect."),
    known(
        "excludedCRDs",
        List,
        "Names of CRDs that are not installed.",
    ),
    known("validateGateway", Flag, "No effect."),
    known("validationCABundle", Text, "CA of the validating webhook."),
    known(
        "validationFailurePolicy",
        Text,
        "Fail or Ignore; default is Ignore until ready.",
    ),
    known(
        "validationURL",
        Text,
        "URL of a validating webhook elsewhere.",
    ),
];

const EXPERIMENTAL: &[Known] = &[known(
    "stableValidationPolicy",
    Flag,
    "Refuse what is not of the stable channel.",
)];

const LOGGING: &[Known] = &[known("level", Text, "Such as default:info,ads:debug.")];

const CNI: &[Known] = &[
    known("affinity", Open, "Affinity of the pods."),
    known(
        "ambient",
        Group(CNI_AMBIENT),
        "Redirection for ambient mode.",
    ),
    known(
        "chained",
        Flag,
        "Add to an existing CNI configuration; default true.",
    ),
    known("cniBinDir", Text, "Directory of CNI programs on the node."),
    known(
        "cniConfDir",
        Text,
        "Directory of CNI configurations on the node.",
    ),
    known("cniConfFileName", Text, "Configuration to add to."),
    known(
        "cniNetnsDir",
        Text,
        "Directory of network namespaces on the node.",
    ),
    known("daemonSetLabels", Open, "Labels of the DaemonSet."),
    known("enabled", Flag, "Use components.cni.enabled."),
    known("env", Open, "Environment, name to value."),
    known(
        "excludeNamespaces",
        List,
        "Namespaces left alone; default kube-system.",
    ),
    known("hub", Text, "Registry and path of the image."),
    known(
        "image",
        Text,
        "Image name; with a slash the whole reference.",
    ),
    known(
        "istioOwnedCNIConfig",
        Flag,
        "Write an own configuration with priority.",
    ),
    known(
        "istioOwnedCNIConfigFileName",
        Text,
        "Name of the own configuration.",
    ),
    known("logLevel", Text, "Use logging.level."),
    known("logging", Group(LOGGING), "Logs."),
    known("podAnnotations", Open, "Annotations of the pods."),
    known("podLabels", Open, "Labels of the pods."),
    known("privileged", Flag, "No effect."),
    known("provider", Text, "default or multus."),
    known("psp_cluster_role", Text, "No effect."),
    known("pullPolicy", Text, "Image pull policy."),
    known(
        "repair",
        Group(CNI_REPAIR),
        "Repair of pods that started before the agent.",
    ),
    known(
        "resourceQuotas",
        Group(RESOURCE_QUOTA),
        "Quota for the priority class.",
    ),
    known(
        "resource_quotas",
        Group(RESOURCE_QUOTA),
        "As resourceQuotas.",
    ),
    known("resources", Group(RESOURCES), "Resources of the container."),
    known(
        "rollingMaxUnavailable",
        Number,
        "Pods missing during an update; default 1.",
    ),
    known("seLinuxOptions", Open, "SELinux options of the container."),
    known("seccompProfile", Open, "Seccomp profile of the container."),
    known("tag", Scalar, "Tag of the image."),
    known(
        "terminationGracePeriodSeconds",
        Number,
        "Time to stop; default 30.",
    ),
    known("tolerations", List, "Tolerations of the pods."),
    known("updateStrategy", Open, "Update strategy of the DaemonSet."),
    known(
        "useAppArmorAnnotation",
        Flag,
        "AppArmor by annotation; default true.",
    ),
    known("variant", Text, "Variant of the image, such as distroless."),
];

const CNI_AMBIENT: &[Known] = &[
    known("configDir", Text, "No effect."),
    known("dnsCapture", Flag, "Redirect DNS; default true."),
    known(
        "enableAmbientDetectionRetry",
        Flag,
        "Look for ambient pods again after failures.",
    ),
    known("enabled", Flag, "Redirect pods of ambient mode."),
    known(
        "enablementSelectors",
        List,
        "Which pods and namespaces are of ambient mode.",
    ),
    known("ipv6", Flag, "Redirect IPv6; default true."),
    known(
        "reconcileIptablesOnStartup",
        Flag,
        "Renew rules of running pods; default true.",
    ),
    known(
        "shareHostNetworkNamespace",
        Flag,
        "Run in the network of the node.",
    ),
];

const CNI_REPAIR: &[Known] = &[
    known("brokenPodLabelKey", Text, "Label of broken pods."),
    known("brokenPodLabelValue", Text, "Value of that label."),
    known("createEvents", Text, "No effect."),
    known("deletePods", Flag, "Delete broken pods."),
    known("enabled", Flag, "Look for broken pods; default true."),
    known("hub", Text, "No effect."),
    known("image", Text, "No effect."),
    known(
        "initContainerName",
        Text,
        "Container that shows a pod is broken.",
    ),
    known("labelPods", Flag, "Label broken pods."),
    known("repairPods", Flag, "Repair broken pods; default true."),
    known("tag", Scalar, "No effect."),
];

const RESOURCE_QUOTA: &[Known] = &[
    known("enabled", Flag, "Whether there is a quota."),
    known("pods", Number, "Most pods; default 5000."),
];

const RESOURCES: &[Known] = &[
    known("limits", Open, "Most it may use."),
    known("requests", Open, "What is reserved."),
];

const GATEWAYS: &[Known] = &[
    known("enabled", Flag, "No effect."),
    known(
        "istio-egressgateway",
        Group(GATEWAY),
        "All egress gateways.",
    ),
    known(
        "istio-ingressgateway",
        Group(GATEWAY),
        "All ingress gateways.",
    ),
    known(
        "seccompProfile",
        Open,
        "Seccomp profile of injected gateways.",
    ),
    known(
        "securityContext",
        Open,
        "Security context of injected gateways.",
    ),
];

const UTILIZATION: &[Known] = &[known(
    "targetAverageUtilization",
    Number,
    "Percent of the request.",
)];

const GATEWAY: &[Known] = &[
    known("additionalContainers", List, "Further containers."),
    known(
        "autoscaleEnabled",
        Flag,
        "Make an autoscaler; default true.",
    ),
    known("autoscaleMax", Number, "Most pods; default 5."),
    known("autoscaleMin", Number, "Fewest pods; default 1."),
    known(
        "configVolumes",
        List,
        "ConfigMaps to mount: name, configMapName, mountPath.",
    ),
    known(
        "cpu",
        Group(UTILIZATION),
        "Processor use to aim for; default 80.",
    ),
    known("customService", Flag, "Make no Service."),
    known("egressPorts", List, "Further ports of egress gateways."),
    known(
        "enabled",
        Flag,
        "True turns every listed gateway of this kind on.",
    ),
    known("env", Open, "Environment, name to value."),
    known("externalTrafficPolicy", Text, "Cluster or Local."),
    known("ingressPorts", List, "Further ports of ingress gateways."),
    known(
        "injectionTemplate",
        Text,
        "Let the injector make the container.",
    ),
    known("ipFamilies", List, "IPv4, IPv6."),
    known(
        "ipFamilyPolicy",
        Text,
        "SingleStack, PreferDualStack or RequireDualStack.",
    ),
    known(
        "labels",
        Open,
        "Overwritten by the label of the list entry.",
    ),
    known("loadBalancerIP", Text, "Address of the load balancer."),
    known(
        "loadBalancerSourceRanges",
        List,
        "Client ranges that may connect.",
    ),
    known("memory", Group(UTILIZATION), "Memory use to aim for."),
    known("name", Text, "Overwritten by the name of the list entry."),
    known("nodeSelector", Open, "Node labels that the pods need."),
    known("podAnnotations", Open, "Annotations of the pods."),
    known(
        "podAntiAffinityLabelSelector",
        List,
        "Nodes to avoid, strictly.",
    ),
    known(
        "podAntiAffinityTermLabelSelector",
        List,
        "Nodes to avoid if possible.",
    ),
    known(
        "ports",
        List,
        "Ports of the Service; replaces the default list.",
    ),
    known("replicaCount", Number, "Pods without an autoscaler."),
    known("resources", Group(RESOURCES), "Resources of the container."),
    known(
        "rollingMaxSurge",
        Number,
        "Pods added during an update; default 100%.",
    ),
    known(
        "rollingMaxUnavailable",
        Number,
        "Pods missing during an update; default 25%.",
    ),
    known("runAsRoot", Flag, "Run as root, for ports below 1024."),
    known(
        "secretVolumes",
        List,
        "Secrets to mount: name, secretName, mountPath.",
    ),
    known(
        "serviceAccount",
        Group(SERVICE_ACCOUNT),
        "The ServiceAccount.",
    ),
    known("serviceAnnotations", Open, "Annotations of the Service."),
    known("tag", Scalar, "Tag of the image."),
    known("tolerations", List, "Tolerations of the pods."),
    known("type", Text, "Type of the Service."),
];

const SERVICE_ACCOUNT: &[Known] = &[known("annotations", Open, "Its annotations.")];

const ENABLED: &[Known] = &[known("enabled", Flag, "Whether it is on.")];

const GLOBAL: &[Known] = &[
    known(
        "agentgateway",
        Group(IMAGE),
        "Proxy of agentgateway classes.",
    ),
    known(
        "arch",
        Open,
        "Weight per processor architecture, 0 to 3; use affinity.",
    ),
    known(
        "caAddress",
        Text,
        "Address of the CA; default is the control plane.",
    ),
    known("caName", Text, "Name of an external CA."),
    known(
        "certSigners",
        List,
        "Signers that the control plane may approve.",
    ),
    known(
        "configCluster",
        Flag,
        "A remote cluster that holds the configuration.",
    ),
    known(
        "configValidation",
        Flag,
        "Validate configuration by webhook; default true.",
    ),
    known(
        "defaultNodeSelector",
        Open,
        "Node labels that gateway pods need.",
    ),
    known(
        "defaultPodDisruptionBudget",
        Group(ENABLED),
        "Budgets where there are 2 pods or more.",
    ),
    known(
        "defaultResources",
        Group(RESOURCES),
        "Resources where a component has none.",
    ),
    known("defaultTolerations", List, "Tolerations of gateway pods."),
    known(
        "enableReaderRBAC",
        Flag,
        "Make the reader role for remote clusters; default true.",
    ),
    known(
        "externalIstiod",
        Flag,
        "This control plane serves other clusters.",
    ),
    known(
        "hub",
        Text,
        "Registry and path of the images; wins over spec.hub.",
    ),
    known("imagePullPolicy", Text, "Always, IfNotPresent or Never."),
    known(
        "imagePullSecrets",
        List,
        "Names of pull secrets for the ServiceAccounts.",
    ),
    known("ipFamilies", List, "IPv4, IPv6."),
    known(
        "ipFamilyPolicy",
        Text,
        "SingleStack, PreferDualStack or RequireDualStack.",
    ),
    known(
        "istioNamespace",
        Text,
        "Namespace of the control plane; default istio-system.",
    ),
    known("istiod", Group(ISTIOD), "The control plane."),
    known("jwtPolicy", Text, "No effect."),
    known("logAsJson", Flag, "Logs in JSON."),
    known("logging", Group(LOGGING), "Logs."),
    known(
        "meshID",
        Text,
        "Name of the mesh; default is the trust domain.",
    ),
    known(
        "meshNetworks",
        Open,
        "Networks of the mesh and their gateways.",
    ),
    known("mountMtlsCerts", Flag, "Mount certificates from secrets."),
    known("multiCluster", Group(MULTI_CLUSTER), "Several clusters."),
    known("nativeNftables", Flag, "Redirect by nftables."),
    known("network", Text, "Network of this cluster."),
    known("networkPolicy", Group(ENABLED), "Make NetworkPolicies."),
    known(
        "omitSidecarInjectorConfigMap",
        Flag,
        "Make no ConfigMap for the injector.",
    ),
    known(
        "operatorManageWebhooks",
        Flag,
        "Make no webhook configurations.",
    ),
    known(
        "pilotCertProvider",
        Text,
        "Certificate of the control plane: istiod, custom or none.",
    ),
    known(
        "platform",
        Text,
        "openshift, gke, k3d, k3s, microk8s or minikube.",
    ),
    known(
        "podDNSSearchNamespaces",
        List,
        "Further DNS search domains of pods.",
    ),
    known(
        "priorityClassName",
        Text,
        "Priority class of control plane and gateways.",
    ),
    known("proxy", Group(PROXY), "Proxies beside workloads."),
    known(
        "proxy_init",
        Group(PROXY_INIT),
        "The container that sets redirection up.",
    ),
    known(
        "readerServiceAccount",
        Open,
        "Name and namespace of another reader account.",
    ),
    known(
        "remotePilotAddress",
        Text,
        "Address of a control plane elsewhere.",
    ),
    known(
        "resourceScope",
        Text,
        "Render all, cluster or namespace objects; default all.",
    ),
    known("revision", Text, "As spec.revision."),
    known("sds", Group(SDS), "Tokens of workloads."),
    known("sts", Group(STS), "Token exchange."),
    known("tag", Scalar, "Tag of the images; wins over spec.tag."),
    known(
        "tracer",
        Open,
        "Addresses of tracers; use meshConfig.extensionProviders.",
    ),
    known(
        "trustBundleName",
        Text,
        "Name of the ConfigMap with the root certificate.",
    ),
    known(
        "variant",
        Text,
        "Variant of the images, such as distroless.",
    ),
    known("waypoint", Group(WAYPOINT), "Waypoint proxies."),
];

const IMAGE: &[Known] = &[known("image", Text, "Image reference.")];

const ISTIOD: &[Known] = &[known(
    "enableAnalysis",
    Flag,
    "Write findings into the status.",
)];

const MULTI_CLUSTER: &[Known] = &[
    known(
        "clusterName",
        Text,
        "Name of this cluster; default Kubernetes.",
    ),
    known("enabled", Flag, "No effect."),
    known("globalDomainSuffix", Text, "No effect."),
    known("includeEnvoyFilter", Flag, "No effect."),
];

const PROXY: &[Known] = &[
    known(
        "autoInject",
        Text,
        "enabled, or disabled to inject on request only.",
    ),
    known(
        "clusterDomain",
        Text,
        "DNS domain of the cluster; default cluster.local.",
    ),
    known(
        "componentLogLevel",
        Text,
        "Log levels by component; default misc:error.",
    ),
    known("enableCoreDump", Flag, "No effect."),
    known(
        "excludeIPRanges",
        Text,
        "Destination ranges left alone, comma-separated.",
    ),
    known(
        "excludeInboundPorts",
        Text,
        "Inbound ports left alone, comma-separated.",
    ),
    known(
        "excludeOutboundPorts",
        Text,
        "Outbound ports left alone, comma-separated.",
    ),
    known(
        "holdApplicationUntilProxyStarts",
        Flag,
        "Use meshConfig.defaultConfig.",
    ),
    known(
        "image",
        Text,
        "Image name; with a slash the whole reference.",
    ),
    known(
        "includeIPRanges",
        Text,
        "Destination ranges redirected; default *.",
    ),
    known(
        "includeInboundPorts",
        Text,
        "Inbound ports redirected; default *.",
    ),
    known(
        "includeOutboundPorts",
        Text,
        "Outbound ports redirected, whatever the address.",
    ),
    known("lifecycle", Open, "Lifecycle hooks of the container."),
    known("logLevel", Text, "Log level; default warning."),
    known("outlierLogPath", Text, "File for ejections of endpoints."),
    known("privileged", Flag, "Run privileged."),
    known(
        "readinessFailureThreshold",
        Number,
        "Failures until not ready; default 4.",
    ),
    known(
        "readinessInitialDelaySeconds",
        Number,
        "Delay of the first check; default 0.",
    ),
    known(
        "readinessPeriodSeconds",
        Number,
        "Pause between checks; default 15.",
    ),
    known("resources", Group(RESOURCES), "Resources of the container."),
    known("seccompProfile", Open, "Seccomp profile of the container."),
    known(
        "startupProbe",
        Group(STARTUP_PROBE),
        "Check while starting.",
    ),
    known(
        "statusPort",
        Number,
        "Port of health checks; default 15020.",
    ),
    known(
        "tracer",
        Text,
        "Tracer of old configurations; default none.",
    ),
    known("variant", Text, "Variant of the image."),
];

const STARTUP_PROBE: &[Known] = &[
    known("enabled", Flag, "Whether it is checked; default true."),
    known("failureThreshold", Number, "Seconds to start; default 600."),
];

const PROXY_INIT: &[Known] = &[
    known(
        "forceApplyIptables",
        Flag,
        "Write rules even if there are some.",
    ),
    known(
        "image",
        Text,
        "Image name; with a slash the whole reference.",
    ),
    known("resources", Group(RESOURCES), "No effect."),
];

const SDS: &[Known] = &[known("token", Open, "Audience of the token: aud.")];

const STS: &[Known] = &[known("servicePort", Number, "Port; 0 is off.")];

const WAYPOINT: &[Known] = &[
    known("affinity", Open, "Affinity of the pods."),
    known("nodeSelector", Open, "Node labels that the pods need."),
    known("resources", Group(RESOURCES), "Resources of the container."),
    known("toleration", List, "As tolerations."),
    known("tolerations", List, "Tolerations of the pods."),
    known("topologySpreadConstraints", List, "Spreading of the pods."),
];

const ISTIOD_REMOTE: &[Known] = &[
    known("enabled", Flag, "Use a control plane elsewhere."),
    known(
        "enabledLocalInjectorIstiod",
        Flag,
        "Inject by a control plane of this cluster.",
    ),
    known("injectionCABundle", Text, "CA of the injection webhook."),
    known(
        "injectionPath",
        Text,
        "Path of the injection webhook; default /inject.",
    ),
    known(
        "injectionURL",
        Text,
        "URL of an injection webhook elsewhere.",
    ),
];

const PILOT: &[Known] = &[
    known("affinity", Open, "Affinity of the pods."),
    known("autoscaleBehavior", Open, "How fast it scales."),
    known(
        "autoscaleEnabled",
        Flag,
        "Make an autoscaler; default true.",
    ),
    known("autoscaleMax", Number, "Most pods; default 5."),
    known("autoscaleMin", Number, "Fewest pods; default 1."),
    known(
        "cni",
        Group(PILOT_CNI),
        "Use of the CNI node agent by injected pods.",
    ),
    known("configMap", Flag, "Make the mesh ConfigMap; default true."),
    known(
        "cpu",
        Group(UTILIZATION),
        "Processor use to aim for; default 80.",
    ),
    known(
        "crlConfigMapName",
        Text,
        "ConfigMap with a revocation list.",
    ),
    known(
        "deploymentAnnotations",
        Open,
        "Annotations of the Deployment.",
    ),
    known("deploymentLabels", Open, "Labels of the Deployment."),
    known("enabled", Flag, "Use components.pilot.enabled."),
    known("env", Open, "Environment, name to value."),
    known("envVarFrom", List, "Environment from other objects."),
    known("extraContainerArgs", List, "Further arguments."),
    known("hub", Text, "Registry and path of the image."),
    known(
        "image",
        Text,
        "Image name; with a slash the whole reference.",
    ),
    known("initContainers", List, "Init containers."),
    known("ipFamilies", List, "IPv4, IPv6."),
    known(
        "ipFamilyPolicy",
        Text,
        "SingleStack, PreferDualStack or RequireDualStack.",
    ),
    known(
        "istiodRemote",
        Group(ISTIOD_REMOTE),
        "As istiodRemote at the top.",
    ),
    known(
        "jwksResolverExtraRootCA",
        Text,
        "PEM root for fetching keys of token issuers.",
    ),
    known(
        "keepaliveMaxServerConnectionAge",
        Text,
        "Longest life of a proxy's stream; default 30m.",
    ),
    known("memory", Group(UTILIZATION), "Memory use to aim for."),
    known("nodeSelector", Open, "Node labels that the pods need."),
    known("pdb", Open, "Settings of the PodDisruptionBudget."),
    known("podAnnotations", Open, "Annotations of the pods."),
    known("podLabels", Open, "Labels of the pods."),
    known(
        "replicaCount",
        Number,
        "Pods without an autoscaler; default 1.",
    ),
    known("resources", Group(RESOURCES), "Resources of the container."),
    known(
        "rollingMaxSurge",
        Number,
        "Pods added during an update; default 100%.",
    ),
    known(
        "rollingMaxUnavailable",
        Number,
        "Pods missing during an update; default 25%.",
    ),
    known("seccompProfile", Open, "Seccomp profile of the container."),
    known(
        "serviceAccountAnnotations",
        Open,
        "Annotations of the ServiceAccount.",
    ),
    known("serviceAnnotations", Open, "Annotations of the Service."),
    known(
        "sidecarInjectorWebhookAnnotations",
        Open,
        "Annotations of the injection webhook.",
    ),
    known("tag", Scalar, "Tag of the image."),
    known(
        "taint",
        Group(TAINT),
        "Removal of a taint from nodes where the agent runs.",
    ),
    known("terminationGracePeriodSeconds", Number, "Time to stop."),
    known(
        "terminationMessagePolicy",
        Text,
        "Where the termination message comes from.",
    ),
    known("tolerations", List, "Tolerations of the pods."),
    known("topologySpreadConstraints", List, "Spreading of the pods."),
    known(
        "traceSampling",
        Number,
        "Percent of requests traced; default 1.",
    ),
    known("trafficDistribution", Text, "Preference of near endpoints."),
    known(
        "trustedZtunnelName",
        Text,
        "Account of the trusted node proxy.",
    ),
    known(
        "trustedZtunnelNamespace",
        Text,
        "Namespace of the trusted node proxy.",
    ),
    known("variant", Text, "Variant of the image."),
    known("volumeMounts", List, "Further volume mounts."),
    known("volumes", List, "Further volumes."),
];

const PILOT_CNI: &[Known] = &[
    known("enabled", Flag, "Use components.cni.enabled."),
    known("provider", Text, "default or multus."),
];

const TAINT: &[Known] = &[
    known("enabled", Flag, "Whether taints are removed."),
    known(
        "name",
        Text,
        "Key of the taint; default cni.istio.io/not-ready.",
    ),
    known("namespace", Text, "Namespace of the agent."),
];

const INJECTOR: &[Known] = &[
    known(
        "alwaysInjectSelector",
        List,
        "Pods that are injected where nothing else decides.",
    ),
    known(
        "defaultTemplates",
        List,
        "Templates of pods that name none; default sidecar.",
    ),
    known(
        "enableNamespacesByDefault",
        Flag,
        "Inject in namespaces without a label.",
    ),
    known(
        "injectedAnnotations",
        Open,
        "Annotations added to injected pods.",
    ),
    known("injectionURL", Text, "Use istiodRemote.injectionURL."),
    known(
        "neverInjectSelector",
        List,
        "Pods that are not injected where nothing else decides.",
    ),
    known("reinvocationPolicy", Text, "Never or IfNeeded."),
    known(
        "rewriteAppHTTPProbe",
        Flag,
        "Let the proxy forward HTTP probes; default true.",
    ),
    known("templates", Open, "Own templates by name."),
];

const TELEMETRY: &[Known] = &[
    known("enabled", Flag, "Default metrics; default true."),
    known("v2", Group(TELEMETRY_V2), "Metrics made by proxies."),
];

const TELEMETRY_V2: &[Known] = &[
    known("enabled", Flag, "Default true."),
    known(
        "prometheus",
        Group(ENABLED),
        "For Prometheus; default true.",
    ),
    known("stackdriver", Group(ENABLED), "For Google Cloud."),
];
