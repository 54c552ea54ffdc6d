//! Fields of the mesh configuration whose types are checked. It stays open: a newer control plane
//! may know more. <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/>

use super::values::Known;
use super::values::Shape::{Flag, Group, List, Number, Open, Text};
use super::values::known;

/// Fields of `MeshConfig`.
pub const MESH_CONFIG: &[Known] = known! {
    "accessLogEncoding": Text, "TEXT or JSON.";
    "accessLogFile": Text, "File of the access log.";
    "accessLogFormat": Text, "Format of the access log.";
    "ca": Open, "An external certificate authority.";
    "caCertificates": List, "Further roots.";
    "certificates": List, "Certificates of control plane programs.";
    "configSources": List, "Where configuration comes from.";
    "connectTimeout": Text, "Time for connecting to endpoints.";
    "defaultConfig": Group(PROXY_CONFIG), "Configuration of proxies.";
    "defaultDestinationRuleExportTo": List, "Visibility of DestinationRules.";
    "defaultHttpRetryPolicy": Open, "Retries of requests.";
    "defaultProviders": Open, "Providers of telemetry.";
    "defaultServiceExportTo": List, "Visibility of Services.";
    "defaultVirtualServiceExportTo": List, "Visibility of VirtualServices.";
    "disableEnvoyListenerLog": Flag, "No access log of listeners.";
    "discoverySelectors": List, "Namespaces that are looked at.";
    "dnsRefreshRate": Text, "Time between look-ups of names.";
    "enableAutoMtls": Flag, "Mutual TLS where both sides can.";
    "enableEnvoyAccessLogService": Flag, "Access logs to a service.";
    "enablePrometheusMerge": Flag, "Metrics of application and proxy together.";
    "enableTracing": Flag, "Traces.";
    "extensionProviders": List, "Services that proxies call.";
    "h2UpgradePolicy": Text, "Upgrades to HTTP/2.";
    "inboundClusterStatName": Text, "Names of metrics.";
    "inboundTrafficPolicy": Open, "Inbound traffic that nothing describes.";
    "ingressClass": Text, "Class of Ingresses.";
    "ingressControllerMode": Text, "Which Ingresses count.";
    "ingressSelector": Text, "Gateway of Ingresses.";
    "ingressService": Text, "Service of the gateway of Ingresses.";
    "localityLbSetting": Open, "Load balancing by locality.";
    "meshMTLS": Open, "TLS between workloads.";
    "outboundClusterStatName": Text, "Names of metrics.";
    "outboundTrafficPolicy": Open, "Outbound traffic that nothing describes.";
    "pathNormalization": Open, "How paths are normalised.";
    "protocolDetectionTimeout": Text, "Time for telling protocols apart.";
    "proxyHttpPort": Number, "Port of an outbound HTTP proxy.";
    "proxyListenPort": Number, "Port of outbound traffic.";
    "rootNamespace": Text, "Namespace of mesh-wide configuration.";
    "serviceScopeConfigs": List, "Reach of Services over clusters.";
    "serviceSettings": List, "Settings of Services.";
    "tcpKeepalive": Open, "Keepalive of connections.";
    "tlsDefaults": Open, "TLS to what is outside of the mesh.";
    "trustDomain": Text, "Trust domain.";
    "trustDomainAliases": List, "Further trust domains.";
    "verifyCertificateAtClient": Flag, "Certificates of servers are verified.";
};

/// Fields of `ProxyConfig`.
const PROXY_CONFIG: &[Known] = known! {
    "binaryPath": Text, "Program of the proxy.";
    "caCertificatesPem": List, "Further roots.";
    "concurrency": Number, "Worker threads.";
    "configPath": Text, "Folder of generated files.";
    "controlPlaneAuthPolicy": Text, "No effect.";
    "customConfigFile": Text, "Own bootstrap.";
    "discoveryAddress": Text, "Address of the control plane.";
    "drainDuration": Text, "Time for draining connections.";
    "envoyAccessLogService": Open, "Service for access logs.";
    "envoyMetricsService": Open, "Service for metrics.";
    "extraStatTags": List, "Further labels of metrics.";
    "holdApplicationUntilProxyStarts": Flag, "Applications start after the proxy.";
    "image": Open, "Kind of image.";
    "interceptionMode": Text, "REDIRECT, TPROXY or NONE.";
    "meshId": Text, "Name of the mesh.";
    "parentShutdownDuration": Text, "No effect.";
    "privateKeyProvider": Open, "Where private keys are.";
    "proxyAdminPort": Number, "Port of administration.";
    "proxyBootstrapTemplatePath": Text, "Own template of the bootstrap.";
    "proxyHeaders": Open, "Headers that proxies add.";
    "proxyMetadata": Open, "Environment of the proxy.";
    "proxyStatsMatcher": Open, "Metrics that are kept.";
    "readinessProbe": Open, "Probe of virtual machines.";
    "runtimeValues": Open, "Switches of the proxy.";
    "serviceCluster": Text, "Name of the service.";
    "statNameLength": Number, "No effect.";
    "statsdUdpAddress": Text, "Address of statsd.";
    "statusPort": Number, "Port of health checks.";
    "terminationDrainDuration": Text, "Time for draining at the end.";
    "tracing": Open, "Traces.";
};

/// Fields that are times.
pub const TIMES: &[&str] = &[
    "connectTimeout",
    "dnsRefreshRate",
    "protocolDetectionTimeout",
    "defaultConfig/drainDuration",
    "defaultConfig/parentShutdownDuration",
    "defaultConfig/terminationDrainDuration",
];

/// Fields that are addresses with a port.
pub const ADDRESSES: &[&str] = &["defaultConfig/discoveryAddress"];
