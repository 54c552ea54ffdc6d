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

macro_rules! known {
    ($($name:literal: $shape:expr, $text:literal;)*) => {
        &[$($crate::operator::values::Known { name: $name, shape: $shape, text: $text }),*]
    };
}

pub(super) use known;

/// Keys of `spec.values`.
pub const VALUES: &[Known] = known! {
    "base": Group(BASE), "CRDs and default validation.";
    "cni": Group(CNI), "The CNI node agent.";
    "compatibilityVersion": Scalar, "As spec.compatibilityVersion.";
    "defaultRevision": Text, "Revision that validates by default; empty is none.";
    "experimental": Group(EXPERIMENTAL), "What may change or go.";
    "gatewayClasses": Open, "Defaults for gateways of a GatewayClass, by class.";
    "gateways": Group(GATEWAYS), "Settings of all ingress and all egress gateways.";
    "global": Group(GLOBAL), "What several components share.";
    "istiodRemote": Group(ISTIOD_REMOTE), "Use of a control plane elsewhere.";
    "meshConfig": Open, "As spec.meshConfig.";
    "ownerName": Text, "Value of the label of the owning resource.";
    "pilot": Group(PILOT), "The control plane.";
    "platform": Text, "As global.platform.";
    "profile": Text, "Set of values to start from, without its components.";
    "revision": Text, "As spec.revision.";
    "revisionTags": List, "Further names of the revision for injection.";
    "sidecarInjectorWebhook": Group(INJECTOR), "Injection of sidecars.";
    "telemetry": Group(TELEMETRY), "Default metrics.";
    "ztunnel": Open, "The node proxy of ambient mode; keys are not checked.";
};

const BASE: &[Known] = known! {
    "enableCRDTemplates": Flag, "Render the CRDs with common labels.";
    "enableIstioConfigCRDs": Flag, "No effect.";
    "excludedCRDs": List, "Names of CRDs that are not installed.";
    "validateGateway": Flag, "No effect.";
    "validationCABundle": Text, "CA of the validating webhook.";
    "validationFailurePolicy": Text, "Fail or Ignore; default is Ignore until ready.";
    "validationURL": Text, "URL of a validating webhook elsewhere.";
};

const EXPERIMENTAL: &[Known] = known! {
    "stableValidationPolicy": Flag, "Refuse what is not of the stable channel.";
};

const LOGGING: &[Known] = known! {
    "level": Text, "Such as default:info,ads:debug.";
};

const CNI: &[Known] = known! {
    "affinity": Group(AFFINITY), "Affinity of the pods.";
    "ambient": Group(CNI_AMBIENT), "Redirection for ambient mode.";
    "chained": Flag, "Add to an existing CNI configuration; default true.";
    "cniBinDir": Text, "Directory of CNI programs on the node.";
    "cniConfDir": Text, "Directory of CNI configurations on the node.";
    "cniConfFileName": Text, "Configuration to add to.";
    "cniNetnsDir": Text, "Directory of network namespaces on the node.";
    "daemonSetLabels": Open, "Labels of the DaemonSet.";
    "enabled": Flag, "Use components.cni.enabled.";
    "env": Open, "Environment, name to value.";
    "excludeNamespaces": List, "Namespaces left alone; default kube-system.";
    "hub": Text, "Registry and path of the image.";
    "image": Text, "Image name; with a slash the whole reference.";
    "istioOwnedCNIConfig": Flag, "Write an own configuration with priority.";
    "istioOwnedCNIConfigFileName": Text, "Name of the own configuration.";
    "logLevel": Text, "Use logging.level.";
    "logging": Group(LOGGING), "Logs.";
    "podAnnotations": Open, "Annotations of the pods.";
    "podLabels": Open, "Labels of the pods.";
    "privileged": Flag, "No effect.";
    "provider": Text, "default or multus.";
    "psp_cluster_role": Text, "No effect.";
    "pullPolicy": Text, "Image pull policy.";
    "repair": Group(CNI_REPAIR), "Repair of pods that started before the agent.";
    "resourceQuotas": Group(RESOURCE_QUOTA), "Quota for the priority class.";
    "resource_quotas": Group(RESOURCE_QUOTA), "As resourceQuotas.";
    "resources": Group(RESOURCES), "Resources of the container.";
    "rollingMaxUnavailable": Number, "Pods missing during an update; default 1.";
    "seLinuxOptions": Group(SE_LINUX_OPTIONS), "SELinux options of the container.";
    "seccompProfile": Group(SECCOMP_PROFILE), "Seccomp profile of the container.";
    "tag": Scalar, "Tag of the image.";
    "terminationGracePeriodSeconds": Number, "Time to stop; default 30.";
    "tolerations": List, "Tolerations of the pods.";
    "updateStrategy": Group(UPDATE_STRATEGY), "Update strategy of the DaemonSet.";
    "useAppArmorAnnotation": Flag, "AppArmor by annotation; default true.";
    "variant": Text, "Variant of the image, such as distroless.";
};

const CNI_AMBIENT: &[Known] = known! {
    "configDir": Text, "No effect.";
    "dnsCapture": Flag, "Redirect DNS; default true.";
    "enableAmbientDetectionRetry": Flag, "Look for ambient pods again after failures.";
    "enabled": Flag, "Redirect pods of ambient mode.";
    "enablementSelectors": List, "Which pods and namespaces are of ambient mode.";
    "ipv6": Flag, "Redirect IPv6; default true.";
    "reconcileIptablesOnStartup": Flag, "Renew rules of running pods; default true.";
    "shareHostNetworkNamespace": Flag, "Run in the network of the node.";
};

const CNI_REPAIR: &[Known] = known! {
    "brokenPodLabelKey": Text, "Label of broken pods.";
    "brokenPodLabelValue": Text, "Value of that label.";
    "createEvents": Text, "No effect.";
    "deletePods": Flag, "Delete broken pods.";
    "enabled": Flag, "Look for broken pods; default true.";
    "hub": Text, "No effect.";
    "image": Text, "No effect.";
    "initContainerName": Text, "Container that shows a pod is broken.";
    "labelPods": Flag, "Label broken pods.";
    "repairPods": Flag, "Repair broken pods; default true.";
    "tag": Scalar, "No effect.";
};

const RESOURCE_QUOTA: &[Known] = known! {
    "enabled": Flag, "Whether there is a quota.";
    "pods": Number, "Most pods; default 5000.";
};

const AFFINITY: &[Known] = known! {
    "nodeAffinity": Open, "Nodes to prefer or to need.";
    "podAffinity": Open, "Pods to be close to.";
    "podAntiAffinity": Open, "Pods to be away from.";
};

const AUTOSCALE_BEHAVIOR: &[Known] = known! {
    "scaleDown": Open, "How fast pods go.";
    "scaleUp": Open, "How fast pods come.";
};

const DISRUPTION_BUDGET: &[Known] = known! {
    "maxUnavailable": Scalar, "Pods, or a part of them, that may be away; replaces minAvailable.";
    "minAvailable": Scalar, "Pods, or a part of them, that must be there; default 1.";
    "unhealthyPodEvictionPolicy": Text, "IfHealthyBudget or AlwaysAllow.";
};

const LIFECYCLE: &[Known] = known! {
    "postStart": Open, "What runs after its start.";
    "preStop": Open, "What runs before its end.";
    "stopSignal": Text, "Signal that ends it.";
};

const READER_SERVICE_ACCOUNT: &[Known] = known! {
    "name": Text, "Its name.";
    "namespace": Text, "Its namespace; default is the control plane's.";
};

const SE_LINUX_OPTIONS: &[Known] = known! {
    "level": Text, "Level.";
    "role": Text, "Role.";
    "type": Text, "Type.";
    "user": Text, "User.";
};

const SECCOMP_PROFILE: &[Known] = known! {
    "localhostProfile": Text, "File of the node, for the type Localhost.";
    "type": Text, "RuntimeDefault, Localhost or Unconfined.";
};

const TOKEN: &[Known] = known! {
    "aud": Text, "Its audience.";
};

const TRACER: &[Known] = known! {
    "datadog": Group(TRACER_ADDRESS), "Datadog.";
    "lightstep": Group(LIGHTSTEP), "Lightstep.";
    "stackdriver": Open, "Refused; use meshConfig.extensionProviders.";
    "zipkin": Group(TRACER_ADDRESS), "Zipkin, and what understands its messages.";
};

const TRACER_ADDRESS: &[Known] = known! {
    "address": Text, "Host and port.";
};

const LIGHTSTEP: &[Known] = known! {
    "accessToken": Text, "Its token.";
    "address": Text, "Host and port.";
};

const UPDATE_STRATEGY: &[Known] = known! {
    "rollingUpdate": Group(ROLLING_UPDATE), "How many pods at a time.";
    "type": Text, "RollingUpdate or OnDelete.";
};

const ROLLING_UPDATE: &[Known] = known! {
    "maxSurge": Scalar, "Pods, or a part of them, added during an update.";
    "maxUnavailable": Scalar, "Pods, or a part of them, that may be away during an update.";
};

const RESOURCES: &[Known] = known! {
    "limits": Open, "Most it may use.";
    "requests": Open, "What is reserved.";
};

const GATEWAYS: &[Known] = known! {
    "enabled": Flag, "No effect.";
    "istio-egressgateway": Group(GATEWAY), "All egress gateways.";
    "istio-ingressgateway": Group(GATEWAY), "All ingress gateways.";
    "seccompProfile": Group(SECCOMP_PROFILE), "Seccomp profile of injected gateways.";
    "securityContext": Open, "Security context of injected gateways.";
};

const UTILIZATION: &[Known] = known! {
    "targetAverageUtilization": Number, "Percent of the request.";
};

const GATEWAY: &[Known] = known! {
    "additionalContainers": List, "Further containers.";
    "autoscaleEnabled": Flag, "Make an autoscaler; default true.";
    "autoscaleMax": Number, "Most pods; default 5.";
    "autoscaleMin": Number, "Fewest pods; default 1.";
    "configVolumes": List, "ConfigMaps to mount: name, configMapName, mountPath.";
    "cpu": Group(UTILIZATION), "Processor use to aim for; default 80.";
    "customService": Flag, "Make no Service.";
    "egressPorts": List, "Further ports of egress gateways.";
    "enabled": Flag, "True turns every listed gateway of this kind on.";
    "env": Open, "Environment, name to value.";
    "externalTrafficPolicy": Text, "Cluster or Local.";
    "ingressPorts": List, "Further ports of ingress gateways.";
    "injectionTemplate": Text, "Let the injector make the container.";
    "ipFamilies": List, "IPv4, IPv6.";
    "ipFamilyPolicy": Text, "SingleStack, PreferDualStack or RequireDualStack.";
    "labels": Open, "Overwritten by the label of the list entry.";
    "loadBalancerIP": Text, "Address of the load balancer.";
    "loadBalancerSourceRanges": List, "Client ranges that may connect.";
    "memory": Group(UTILIZATION), "Memory use to aim for.";
    "name": Text, "Overwritten by the name of the list entry.";
    "nodeSelector": Open, "Node labels that the pods need.";
    "podAnnotations": Open, "Annotations of the pods.";
    "podAntiAffinityLabelSelector": List, "Nodes to avoid, strictly.";
    "podAntiAffinityTermLabelSelector": List, "Nodes to avoid if possible.";
    "ports": List, "Ports of the Service; replaces the default list.";
    "replicaCount": Number, "Pods without an autoscaler.";
    "resources": Group(RESOURCES), "Resources of the container.";
    "rollingMaxSurge": Number, "Pods added during an update; default 100%.";
    "rollingMaxUnavailable": Number, "Pods missing during an update; default 25%.";
    "runAsRoot": Flag, "Run as root, for ports below 1024.";
    "secretVolumes": List, "Secrets to mount: name, secretName, mountPath.";
    "serviceAccount": Group(SERVICE_ACCOUNT), "The ServiceAccount.";
    "serviceAnnotations": Open, "Annotations of the Service.";
    "tag": Scalar, "Tag of the image.";
    "tolerations": List, "Tolerations of the pods.";
    "type": Text, "Type of the Service.";
};

const SERVICE_ACCOUNT: &[Known] = known! {
    "annotations": Open, "Its annotations.";
};

const ENABLED: &[Known] = known! {
    "enabled": Flag, "Whether it is on.";
};

const GLOBAL: &[Known] = known! {
    "agentgateway": Group(IMAGE), "Proxy of agentgateway classes.";
    "arch": Open, "Weight per processor architecture, 0 to 3; use affinity.";
    "caAddress": Text, "Address of the CA; default is the control plane.";
    "caName": Text, "Name of an external CA.";
    "certSigners": List, "Signers that the control plane may approve.";
    "configCluster": Flag, "A remote cluster that holds the configuration.";
    "configValidation": Flag, "Validate configuration by webhook; default true.";
    "defaultNodeSelector": Open, "Node labels that gateway pods need.";
    "defaultPodDisruptionBudget": Group(ENABLED), "Budgets where there are 2 pods or more.";
    "defaultResources": Group(RESOURCES), "Resources where a component has none.";
    "defaultTolerations": List, "Tolerations of gateway pods.";
    "enableReaderRBAC": Flag, "Make the reader role for remote clusters; default true.";
    "externalIstiod": Flag, "This control plane serves other clusters.";
    "hub": Text, "Registry and path of the images; wins over spec.hub.";
    "imagePullPolicy": Text, "Always, IfNotPresent or Never.";
    "imagePullSecrets": List, "Names of pull secrets for the ServiceAccounts.";
    "ipFamilies": List, "IPv4, IPv6.";
    "ipFamilyPolicy": Text, "SingleStack, PreferDualStack or RequireDualStack.";
    "istioNamespace": Text, "Namespace of the control plane; default istio-system.";
    "istiod": Group(ISTIOD), "The control plane.";
    "jwtPolicy": Text, "No effect.";
    "logAsJson": Flag, "Logs in JSON.";
    "logging": Group(LOGGING), "Logs.";
    "meshID": Text, "Name of the mesh; default is the trust domain.";
    "meshNetworks": Open, "Networks of the mesh and their gateways.";
    "mountMtlsCerts": Flag, "Mount certificates from secrets.";
    "multiCluster": Group(MULTI_CLUSTER), "Several clusters.";
    "nativeNftables": Flag, "Redirect by nftables.";
    "network": Text, "Network of this cluster.";
    "networkPolicy": Group(ENABLED), "Make NetworkPolicies.";
    "omitSidecarInjectorConfigMap": Flag, "Make no ConfigMap for the injector.";
    "operatorManageWebhooks": Flag, "Make no webhook configurations.";
    "pilotCertProvider": Text, "Certificate of the control plane: istiod, custom or none.";
    "platform": Text, "openshift, gke, k3d, k3s, microk8s or minikube.";
    "podDNSSearchNamespaces": List, "Further DNS search domains of pods.";
    "priorityClassName": Text, "Priority class of control plane and gateways.";
    "proxy": Group(PROXY), "Proxies beside workloads.";
    "proxy_init": Group(PROXY_INIT), "The container that sets redirection up.";
    "readerServiceAccount": Group(READER_SERVICE_ACCOUNT), "Another account to read with.";
    "remotePilotAddress": Text, "Address of a control plane elsewhere.";
    "resourceScope": Text, "Render all, cluster or namespace objects; default all.";
    "revision": Text, "As spec.revision.";
    "sds": Group(SDS), "Tokens of workloads.";
    "sts": Group(STS), "Token exchange.";
    "tag": Scalar, "Tag of the images; wins over spec.tag.";
    "tracer": Group(TRACER), "Addresses of tracers; use meshConfig.extensionProviders.";
    "trustBundleName": Text, "Name of the ConfigMap with the root certificate.";
    "variant": Text, "Variant of the images, such as distroless.";
    "waypoint": Group(WAYPOINT), "Waypoint proxies.";
};

const IMAGE: &[Known] = known! {
    "image": Text, "Image reference.";
};

const ISTIOD: &[Known] = known! {
    "enableAnalysis": Flag, "Write findings into the status.";
};

const MULTI_CLUSTER: &[Known] = known! {
    "clusterName": Text, "Name of this cluster; default Kubernetes.";
    "enabled": Flag, "No effect.";
    "globalDomainSuffix": Text, "No effect.";
    "includeEnvoyFilter": Flag, "No effect.";
};

const PROXY: &[Known] = known! {
    "autoInject": Text, "enabled, or disabled to inject on request only.";
    "clusterDomain": Text, "DNS domain of the cluster; default cluster.local.";
    "componentLogLevel": Text, "Log levels by component; default misc:error.";
    "enableCoreDump": Flag, "No effect.";
    "excludeIPRanges": Text, "Destination ranges left alone, comma-separated.";
    "excludeInboundPorts": Text, "Inbound ports left alone, comma-separated.";
    "excludeOutboundPorts": Text, "Outbound ports left alone, comma-separated.";
    "holdApplicationUntilProxyStarts": Flag, "Use meshConfig.defaultConfig.";
    "image": Text, "Image name; with a slash the whole reference.";
    "includeIPRanges": Text, "Destination ranges redirected; default *.";
    "includeInboundPorts": Text, "Inbound ports redirected; default *.";
    "includeOutboundPorts": Text, "Outbound ports redirected, whatever the address.";
    "lifecycle": Group(LIFECYCLE), "Lifecycle hooks of the container.";
    "logLevel": Text, "Log level; default warning.";
    "outlierLogPath": Text, "File for ejections of endpoints.";
    "privileged": Flag, "Run privileged.";
    "readinessFailureThreshold": Number, "Failures until not ready; default 4.";
    "readinessInitialDelaySeconds": Number, "Delay of the first check; default 0.";
    "readinessPeriodSeconds": Number, "Pause between checks; default 15.";
    "resources": Group(RESOURCES), "Resources of the container.";
    "seccompProfile": Group(SECCOMP_PROFILE), "Seccomp profile of the container.";
    "startupProbe": Group(STARTUP_PROBE), "Check while starting.";
    "statusPort": Number, "Port of health checks; default 15020.";
    "tracer": Text, "Tracer of old configurations; default none.";
    "variant": Text, "Variant of the image.";
};

const STARTUP_PROBE: &[Known] = known! {
    "enabled": Flag, "Whether it is checked; default true.";
    "failureThreshold": Number, "Seconds to start; default 600.";
};

const PROXY_INIT: &[Known] = known! {
    "forceApplyIptables": Flag, "Write rules even if there are some.";
    "image": Text, "Image name; with a slash the whole reference.";
    "resources": Group(RESOURCES), "No effect.";
};

const SDS: &[Known] = known! {
    "token": Group(TOKEN), "The token of proxies.";
};

const STS: &[Known] = known! {
    "servicePort": Number, "Port; 0 is off.";
};

const WAYPOINT: &[Known] = known! {
    "affinity": Group(AFFINITY), "Affinity of the pods.";
    "nodeSelector": Open, "Node labels that the pods need.";
    "resources": Group(RESOURCES), "Resources of the container.";
    "toleration": List, "As tolerations.";
    "tolerations": List, "Tolerations of the pods.";
    "topologySpreadConstraints": List, "Spreading of the pods.";
};

const ISTIOD_REMOTE: &[Known] = known! {
    "enabled": Flag, "Use a control plane elsewhere.";
    "enabledLocalInjectorIstiod": Flag, "Inject by a control plane of this cluster.";
    "injectionCABundle": Text, "CA of the injection webhook.";
    "injectionPath": Text, "Path of the injection webhook; default /inject.";
    "injectionURL": Text, "URL of an injection webhook elsewhere.";
};

const PILOT: &[Known] = known! {
    "affinity": Group(AFFINITY), "Affinity of the pods.";
    "autoscaleBehavior": Group(AUTOSCALE_BEHAVIOR), "How fast it scales.";
    "autoscaleEnabled": Flag, "Make an autoscaler; default true.";
    "autoscaleMax": Number, "Most pods; default 5.";
    "autoscaleMin": Number, "Fewest pods; default 1.";
    "cni": Group(PILOT_CNI), "Use of the CNI node agent by injected pods.";
    "configMap": Flag, "Make the mesh ConfigMap; default true.";
    "cpu": Group(UTILIZATION), "Processor use to aim for; default 80.";
    "crlConfigMapName": Text, "ConfigMap with a revocation list.";
    "deploymentAnnotations": Open, "Annotations of the Deployment.";
    "deploymentLabels": Open, "Labels of the Deployment.";
    "enabled": Flag, "Use components.pilot.enabled.";
    "env": Open, "Environment, name to value.";
    "envVarFrom": List, "Environment from other objects.";
    "extraContainerArgs": List, "Further arguments.";
    "hub": Text, "Registry and path of the image.";
    "image": Text, "Image name; with a slash the whole reference.";
    "initContainers": List, "Init containers.";
    "ipFamilies": List, "IPv4, IPv6.";
    "ipFamilyPolicy": Text, "SingleStack, PreferDualStack or RequireDualStack.";
    "istiodRemote": Group(ISTIOD_REMOTE), "As istiodRemote at the top.";
    "jwksResolverExtraRootCA": Text, "PEM root for fetching keys of token issuers.";
    "keepaliveMaxServerConnectionAge": Text, "Longest life of a proxy's stream; default 30m.";
    "memory": Group(UTILIZATION), "Memory use to aim for.";
    "nodeSelector": Open, "Node labels that the pods need.";
    "pdb": Group(DISRUPTION_BUDGET), "Settings of the PodDisruptionBudget.";
    "podAnnotations": Open, "Annotations of the pods.";
    "podLabels": Open, "Labels of the pods.";
    "replicaCount": Number, "Pods without an autoscaler; default 1.";
    "resources": Group(RESOURCES), "Resources of the container.";
    "rollingMaxSurge": Number, "Pods added during an update; default 100%.";
    "rollingMaxUnavailable": Number, "Pods missing during an update; default 25%.";
    "seccompProfile": Group(SECCOMP_PROFILE), "Seccomp profile of the container.";
    "serviceAccountAnnotations": Open, "Annotations of the ServiceAccount.";
    "serviceAnnotations": Open, "Annotations of the Service.";
    "sidecarInjectorWebhookAnnotations": Open, "Annotations of the injection webhook.";
    "tag": Scalar, "Tag of the image.";
    "taint": Group(TAINT), "Removal of a taint from nodes where the agent runs.";
    "terminationGracePeriodSeconds": Number, "Time to stop.";
    "terminationMessagePolicy": Text, "Where the termination message comes from.";
    "tolerations": List, "Tolerations of the pods.";
    "topologySpreadConstraints": List, "Spreading of the pods.";
    "traceSampling": Number, "Percent of requests traced; default 1.";
    "trafficDistribution": Text, "Preference of near endpoints.";
    "trustedZtunnelName": Text, "Account of the trusted node proxy.";
    "trustedZtunnelNamespace": Text, "Namespace of the trusted node proxy.";
    "variant": Text, "Variant of the image.";
    "volumeMounts": List, "Further volume mounts.";
    "volumes": List, "Further volumes.";
};

const PILOT_CNI: &[Known] = known! {
    "enabled": Flag, "Use components.cni.enabled.";
    "provider": Text, "default or multus.";
};

const TAINT: &[Known] = known! {
    "enabled": Flag, "Whether taints are removed.";
    "name": Text, "Key of the taint; default cni.istio.io/not-ready.";
    "namespace": Text, "Namespace of the agent.";
};

const INJECTOR: &[Known] = known! {
    "alwaysInjectSelector": List, "Pods that are injected where nothing else decides.";
    "defaultTemplates": List, "Templates of pods that name none; default sidecar.";
    "enableNamespacesByDefault": Flag, "Inject in namespaces without a label.";
    "injectedAnnotations": Open, "Annotations added to injected pods.";
    "injectionURL": Text, "Use istiodRemote.injectionURL.";
    "neverInjectSelector": List, "Pods that are not injected where nothing else decides.";
    "reinvocationPolicy": Text, "Never or IfNeeded.";
    "rewriteAppHTTPProbe": Flag, "Let the proxy forward HTTP probes; default true.";
    "templates": Open, "Own templates by name.";
};

const TELEMETRY: &[Known] = known! {
    "enabled": Flag, "Default metrics; default true.";
    "v2": Group(TELEMETRY_V2), "Metrics made by proxies.";
};

const TELEMETRY_V2: &[Known] = known! {
    "enabled": Flag, "Default true.";
    "prometheus": Group(EXPORTER), "For Prometheus; default true.";
    "stackdriver": Group(EXPORTER), "For Google Cloud.";
};

const EXPORTER: &[Known] = known! {
    "configOverride": Open, "Refused; use a Telemetry object.";
    "enabled": Flag, "Whether it is on.";
};
