{{- /*
Blocks that several templates use. A block writes items of a YAML flow list, or one value, so that
the place that asks for it decides about indentation. Text that comes from pods, gateways or values
is always written through quote or as JSON: it can't become structure.
*/ -}}

{{- /* Image of the proxy, for (dict "data" . "fallback" <name or reference>). */ -}}
{{- define "image" -}}
{{- $asked := annotation .data.ObjectMeta "sidecar.istio.io/proxyImage" .fallback -}}
{{- if contains "/" $asked }}{{ quote $asked }}{{ else }}{{ quote .data.ProxyImage }}{{ end -}}
{{- end -}}

{{- /* Requests and limits without those that are null. */ -}}
{{- define "amounts" -}}
{{- $amounts := dict -}}
{{- range $side, $resources := . -}}
{{- $kept := dict -}}
{{- range $resource, $amount := $resources -}}
{{- if not (kindIs "invalid" $amount) -}}{{- $_ := set $kept $resource $amount -}}{{- end -}}
{{- end -}}
{{- if $kept -}}{{- $_ := set $amounts $side $kept -}}{{- end -}}
{{- end -}}
{{- structToJSON $amounts -}}
{{- end -}}

{{- define "env.field" }}{name: {{ index . 0 }}, valueFrom: {fieldRef: {fieldPath: {{ index . 1 }}}}},{{ end -}}

{{- define "env.limit" }}{name: {{ index . 0 }}, valueFrom: {resourceFieldRef: {resource: {{ index . 1 }}, divisor: "1"}}},{{ end -}}

{{- /* Where the control plane is and who the proxy is. */ -}}
{{- define "env.identity" }}
{{- $global := .Values.global }}
{{- $istiod := printf "istiod%s.%s.svc:15012" (empty .Values.revision | ternary "" (printf "-%v" .Values.revision)) $global.istioNamespace }}
      {name: PILOT_CERT_PROVIDER, value: {{ quote $global.pilotCertProvider }}},
      {name: CA_ADDR, value: {{ $global.caAddress | default $istiod | quote }}},
      {{ template "env.field" (list "POD_NAME" "metadata.name") }}
      {{ template "env.field" (list "POD_NAMESPACE" "metadata.namespace") }}
      {{ template "env.field" (list "INSTANCE_IP" "status.podIP") }}
      {{ template "env.field" (list "SERVICE_ACCOUNT" "spec.serviceAccountName") }}
      {{ template "env.field" (list "HOST_IP" "status.hostIP") }}
      {{ template "env.limit" (list "ISTIO_CPU_LIMIT" "limits.cpu") }}
      {name: PROXY_CONFIG, value: {{ protoToJSON .ProxyConfig | quote }}},
      {{ template "env.limit" (list "GOMEMLIMIT" "limits.memory") }}
      {{- with .CompliancePolicy }}
      {name: COMPLIANCE_POLICY, value: {{ quote . }}},
      {{- end }}
{{- end -}}

{{- define "env.mesh" }}
{{- $domain := valueOrDefault .MeshConfig.TrustDomain .Values.global.trustDomain }}
{{- with .Values.global.meshID | default $domain }}
      {name: ISTIO_META_MESH_ID, value: {{ quote . }}},
{{- end }}
{{- with $domain }}
      {name: TRUST_DOMAIN, value: {{ quote . }}},
{{- end }}
{{- end -}}

{{- /* What proxyMetadata of the mesh configuration sets. */ -}}
{{- define "env.metadata" }}
{{- range $name, $value := .ProxyConfig.ProxyMetadata }}
      {name: {{ quote $name }}, value: {{ quote $value }}},
{{- end }}
{{- end -}}

{{- /* Levels and formats of logs, as arguments. */ -}}
{{- define "args.logs" -}}
{{ annotation .ObjectMeta "sidecar.istio.io/logLevel" .Values.global.proxy.logLevel | printf "--proxyLogLevel=%s" | quote }},
      {{ annotation .ObjectMeta "sidecar.istio.io/componentLogLevel" .Values.global.proxy.componentLogLevel | printf "--proxyComponentLogLevel=%s" | quote }},
      {{ annotation .ObjectMeta "sidecar.istio.io/agentLogLevel" .Values.global.logging.level | printf "--log_output_level=%s" | quote }},
      {{- with .Values.global.sts.servicePort }}
      {{ printf "--stsPort=%v" . | quote }},
      {{- end }}
      {{- if .Values.global.logAsJson }}
      --log_as_json,
      {{- end }}
      {{- with .Values.global.proxy.outlierLogPath }}
      {{ printf "--outlierLogPath=%s" . | quote }},
      {{- end }}
{{- end -}}

{{- define "pull.policy" }}{{ with .Values.global.imagePullPolicy }}imagePullPolicy: {{ quote . }}{{ end }}{{ end -}}

{{- define "pull.secrets" -}}
{{- $secrets := list -}}
{{- range .Values.global.imagePullSecrets -}}{{- $secrets = append $secrets (dict "name" .) -}}{{- end -}}
{{- structToJSON $secrets -}}
{{- end -}}

{{- /* Where the proxy finds its identity. */ -}}
{{- define "mounts.identity" }}
      {name: workload-socket, mountPath: /var/run/secrets/workload-spiffe-uds},
      {name: credential-socket, mountPath: /var/run/secrets/credential-uds},
      {{- if eq .Values.global.caName "GkeWorkloadCertificate" }}
      {name: gke-workload-certificate, mountPath: /var/run/secrets/workload-spiffe-credentials, readOnly: true},
      {{- else }}
      {name: workload-certs, mountPath: /var/run/secrets/workload-spiffe-credentials},
      {{- end }}
      {{- if eq .Values.global.pilotCertProvider "istiod" }}
      {name: istiod-ca-cert, mountPath: /var/run/secrets/istio},
      {{- end }}
{{- end -}}

{{- define "volumes.identity" }}
    {name: workload-socket, emptyDir: {}},
    {name: credential-socket, emptyDir: {}},
    {{- if eq .Values.global.caName "GkeWorkloadCertificate" }}
    {name: gke-workload-certificate, csi: {driver: workloadcertificates.security.cloud.google.com}},
    {{- else }}
    {name: workload-certs, emptyDir: {}},
    {{- end }}
{{- end -}}

{{- define "volumes.info" }}
    {name: istio-podinfo, downwardAPI: {items: [
      {path: labels, fieldRef: {fieldPath: metadata.labels}},
      {path: annotations, fieldRef: {fieldPath: metadata.annotations}}]}},
{{- end -}}

{{- /* A token for the control plane, for (dict "data" . "volume" <name> "path" <file>). */ -}}
{{- define "volumes.token" }}
    {name: {{ .volume }}, projected: {sources: [{serviceAccountToken: {
      path: {{ .path }}, expirationSeconds: 43200, audience: {{ quote .data.Values.global.sds.token.aud }}}}]}},
{{- end -}}

{{- /* Certificates of the mesh's authority. */ -}}
{{- define "volumes.authority" }}
    {{- if eq .Values.global.pilotCertProvider "istiod" }}
    {{- $bundle := .Values.global.trustBundleName }}
    {{- if eq (toString (index (.Values.pilot.env | default dict) "ENABLE_CLUSTER_TRUST_BUNDLE_API")) "true" }}
    {name: istiod-ca-cert, projected: {sources: [{clusterTrustBundle: {
      name: {{ $bundle | default "root-cert" | printf "istio.io:istiod-ca:%s" | quote }}, path: root-cert.pem}}]}},
    {{- else }}
    {name: istiod-ca-cert, configMap: {name: {{ $bundle | default "istio-ca-root-cert" | quote }}}},
    {{- end }}
    {{- end }}
{{- end -}}
