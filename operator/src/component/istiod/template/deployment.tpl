{{- /*
Blocks of the templates that istiod makes the objects of a Gateway of the Gateway API from. Each is
used with (dict "data" . "managed" <value of gateway.istio.io/managed>).
*/ -}}

{{- /* Annotations of the Gateway without those that mean the Gateway itself. */ -}}
{{- define "annotations.own" -}}
{{- toJsonMap (omit .data.InfrastructureAnnotations
  "kubectl.kubernetes.io/last-applied-configuration" "gateway.istio.io/name-override"
  "gateway.istio.io/service-account" "gateway.istio.io/controller-version") -}}
{{- end -}}

{{- define "labels.gateway" -}}
{{- toJsonMap .data.InfrastructureLabels (strdict
  "gateway.networking.k8s.io/gateway-name" .data.Name
  "gateway.networking.k8s.io/gateway-class-name" .data.GatewayClass) -}}
{{- end -}}

{{- define "labels.managed" -}}
{{- toJsonMap .data.InfrastructureLabels (strdict
  "gateway.networking.k8s.io/gateway-name" .data.Name
  "gateway.networking.k8s.io/gateway-class-name" .data.GatewayClass
  "gateway.istio.io/managed" .managed) -}}
{{- end -}}

{{- define "owner" }}
  ownerReferences:
  - apiVersion: gateway.networking.k8s.io/v1
    kind: Gateway
    name: {{ quote .data.Name }}
    uid: {{ .data.UID | toString | quote }}
{{- end -}}

{{- define "service.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ quote .data.ServiceAccount }}
  namespace: {{ quote .data.Namespace }}
  annotations: {{ template "annotations.own" . }}
  labels: {{ template "labels.gateway" . }}
  {{- if ge .data.KubeVersion 128 }}
  {{- /* Older clusters drop pods whose account has an owner of a group that they don't know. */}}
  {{- template "owner" . }}
  {{- end }}
---
{{- end -}}

{{- /* The Deployment up to its pod's specification. */ -}}
{{- define "deployment" }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ quote .data.DeploymentName }}
  namespace: {{ quote .data.Namespace }}
  annotations: {{ template "annotations.own" . }}
  labels: {{ template "labels.managed" . }}
  {{- template "owner" . }}
spec:
  selector:
    matchLabels: {{ toJsonMap (strdict .data.GatewayNameLabel .data.Name) }}
  template:
    metadata:
      annotations: {{ toJsonMap
        (omit .data.InfrastructureAnnotations
          "kubectl.kubernetes.io/last-applied-configuration" "gateway.istio.io/name-override"
          "gateway.istio.io/service-account" "gateway.istio.io/controller-version")
        (strdict
          "istio.io/rev" (.data.Revision | default "default")
          "prometheus.io/path" "/stats/prometheus"
          "prometheus.io/port" "15020"
          "prometheus.io/scrape" "true") }}
      labels: {{ toJsonMap
        (strdict
          "sidecar.istio.io/inject" "false"
          "service.istio.io/canonical-name" .data.DeploymentName
          "service.istio.io/canonical-revision" "latest")
        .labels
        .data.InfrastructureLabels
        (strdict
          "gateway.networking.k8s.io/gateway-name" .data.Name
          "gateway.networking.k8s.io/gateway-class-name" .data.GatewayClass
          "gateway.istio.io/managed" .managed) }}
    spec:
      serviceAccountName: {{ quote .data.ServiceAccount }}
      {{- if .data.Values.global.imagePullSecrets }}
      imagePullSecrets: {{ template "pull.secrets" .data }}
      {{- end }}
{{- end -}}

{{- define "pod.security" }}
      {{- with .Values.gateways.securityContext }}
      securityContext: {{ structToJSON . }}
      {{- else }}
      securityContext:
        sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "0"}]
        {{- with .Values.gateways.seccompProfile }}
        seccompProfile: {{ structToJSON . }}
        {{- end }}
      {{- end }}
{{- end -}}

{{- define "probes" }}
        startupProbe:
          httpGet: {path: /healthz/ready, port: 15021, scheme: HTTP}
          initialDelaySeconds: 1
          periodSeconds: 1
          timeoutSeconds: 1
          successThreshold: 1
          failureThreshold: 30
        readinessProbe:
          httpGet: {path: /healthz/ready, port: 15021, scheme: HTTP}
          initialDelaySeconds: 0
          periodSeconds: 15
          timeoutSeconds: 1
          successThreshold: 1
          failureThreshold: 4
{{- end -}}

{{- /* Who the proxy is: all that env.identity doesn't say. */ -}}
{{- define "env.gateway" }}
      {name: ISTIO_META_CLUSTER_ID, value: {{ valueOrDefault .Values.global.multiCluster.clusterName .ClusterID | quote }}},
      {{ template "env.field" (list "ISTIO_META_NODE_NAME" "spec.nodeName") }}
      {{- with valueOrDefault (index .InfrastructureLabels "topology.istio.io/network") .Values.global.network }}
      {name: ISTIO_META_NETWORK, value: {{ quote . }}},
      {{- end }}
      {name: ISTIO_META_WORKLOAD_NAME, value: {{ quote .DeploymentName }}},
      {name: ISTIO_META_OWNER, value: {{ printf "kubernetes://apis/apps/v1/namespaces/%s/deployments/%s" .Namespace .DeploymentName | quote }}},
      {{- template "env.mesh" . }}
      {{- template "env.metadata" . }}
{{- end -}}

{{- /* Service, and the objects that istiod writes only where a class or the Gateway asks for them. */ -}}
{{- define "service" }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ quote .data.DeploymentName }}
  namespace: {{ quote .data.Namespace }}
  annotations: {{ toJsonMap .annotations (omit .data.InfrastructureAnnotations
    "kubectl.kubernetes.io/last-applied-configuration" "gateway.istio.io/name-override"
    "gateway.istio.io/service-account" "gateway.istio.io/controller-version") }}
  labels: {{ template "labels.gateway" . }}
  {{- template "owner" . }}
spec:
  type: {{ .data.ServiceType | toString | quote }}
  {{- if and .data.Spec.Addresses (eq (toString .data.ServiceType) "LoadBalancer") }}
  loadBalancerIP: {{ (index .data.Spec.Addresses 0).Value | quote }}
  {{- end }}
  ipFamilyPolicy: PreferDualStack
  selector: {{ toJsonMap (strdict .data.GatewayNameLabel .data.Name) }}
  ports:
  {{- range .data.Ports }}
  - {name: {{ quote .Name }}, port: {{ .Port }}, protocol: TCP, appProtocol: {{ structToJSON .AppProtocol }}}
  {{- end }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ quote .data.DeploymentName }}
  namespace: {{ quote .data.Namespace }}
  annotations: {{ template "annotations.own" . }}
  labels: {{ template "labels.gateway" . }}
  {{- template "owner" . }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ quote .data.DeploymentName }}
  maxReplicas: 1
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ quote .data.DeploymentName }}
  namespace: {{ quote .data.Namespace }}
  annotations: {{ template "annotations.own" . }}
  labels: {{ template "labels.gateway" . }}
  {{- template "owner" . }}
spec:
  selector:
    matchLabels: {{ toJsonMap (strdict "gateway.networking.k8s.io/gateway-name" .data.Name) }}
{{- end -}}
