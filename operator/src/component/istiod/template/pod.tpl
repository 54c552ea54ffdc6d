{{- /* Blocks of the templates that are laid over pods. */ -}}

{{- define "labels.canonical" }}
    {{- $labels := .ObjectMeta.Labels }}
    {{- $name := coalesce (index $labels "service.istio.io/canonical-name") (index $labels "app.kubernetes.io/name") (index $labels "app") .DeploymentMeta.Name | default "" }}
    {{- $revision := coalesce (index $labels "service.istio.io/canonical-revision") (index $labels "app.kubernetes.io/version") (index $labels "version") "latest" }}
    service.istio.io/canonical-name: {{ regexReplaceAll "[-._]+$" (trunc 63 $name) "" | quote }}
    service.istio.io/canonical-revision: {{ regexReplaceAll "[-._]+$" (trunc 63 $revision) "" | quote }}
{{- end -}}

{{- /* Annotations of every injected pod; commands of kubectl choose the first container of the pod's own. */ -}}
{{- define "annotations.common" }}
    istio.io/rev: {{ .Revision | default "default" | quote }}
    {{- range .Spec.Containers }}
    {{- if ne .Name "istio-proxy" }}
    {{- $first := .Name }}
    {{- range list "kubectl.kubernetes.io/default-container" "kubectl.kubernetes.io/default-logs-container" }}
    {{- if not (isset $.ObjectMeta.Annotations .) }}
    {{ . }}: {{ quote $first }}
    {{- end }}
    {{- end }}
    {{- break }}
    {{- end }}
    {{- end }}
{{- end -}}

{{- /* Resources of the proxy: any of four annotations replaces the installation's as a whole. */ -}}
{{- define "resources" -}}
{{- $asked := dict -}}
{{- range list
  (list "requests" "cpu" "sidecar.istio.io/proxyCPU")
  (list "requests" "memory" "sidecar.istio.io/proxyMemory")
  (list "limits" "cpu" "sidecar.istio.io/proxyCPULimit")
  (list "limits" "memory" "sidecar.istio.io/proxyMemoryLimit") -}}
{{- $side := index . 0 -}}
{{- $annotation := index . 2 -}}
{{- if isset $.ObjectMeta.Annotations $annotation -}}
{{- if not (hasKey $asked $side) -}}{{- $_ := set $asked $side dict -}}{{- end -}}
{{- $_ := set (get $asked $side) (index . 1) (index $.ObjectMeta.Annotations $annotation) -}}
{{- end -}}
{{- end -}}
{{- template "amounts" ($asked | default .Values.global.proxy.resources | default dict) -}}
{{- end -}}

{{- /* Which workload the pod belongs to, and what it listens on. */ -}}
{{- define "env.workload" }}
      {{- $ports := list }}
      {{- $applications := list }}
      {{- range .Spec.Containers }}
      {{- range .Ports }}{{ $ports = append $ports . }}{{ end }}
      {{- if ne .Name "istio-proxy" }}{{ $applications = append $applications .Name }}{{ end }}
      {{- end }}
      {name: ISTIO_META_POD_PORTS, value: {{ structToJSON $ports | quote }}},
      {name: ISTIO_META_APP_CONTAINERS, value: {{ join "," $applications | quote }}},
      {name: ISTIO_META_CLUSTER_ID, value: {{ valueOrDefault .Values.global.multiCluster.clusterName "Kubernetes" | quote }}},
      {{ template "env.field" (list "ISTIO_META_NODE_NAME" "spec.nodeName") }}
      {{- with .Values.global.network }}
      {name: ISTIO_META_NETWORK, value: {{ quote . }}},
      {{- end }}
      {{- with index .ObjectMeta.Labels "service.istio.io/workload-name" | default .DeploymentMeta.Name }}
      {name: ISTIO_META_WORKLOAD_NAME, value: {{ quote . }}},
      {{- end }}
      {{- if and .TypeMeta.APIVersion .DeploymentMeta.Name }}
      {name: ISTIO_META_OWNER, value: {{ printf "kubernetes://apis/%s/namespaces/%s/%ss/%s" .TypeMeta.APIVersion (valueOrDefault .DeploymentMeta.Namespace "default") (toLower .TypeMeta.Kind) .DeploymentMeta.Name | quote }}},
      {{- end }}
{{- end -}}

{{- define "mounts.certificates" }}
      {{- if .Values.global.mountMtlsCerts }}
      {name: istio-certs, mountPath: /etc/certs/, readOnly: true},
      {{- end }}
{{- end -}}

{{- define "volumes.certificates" }}
    {{- if .Values.global.mountMtlsCerts }}
    {name: istio-certs, secret: {optional: true, secretName: {{ .Spec.ServiceAccountName | default "default" | printf "istio.%s" | quote }}}},
    {{- end }}
{{- end -}}

{{- /* Entries of an annotation such as {"<name>": {fields}} as items of a list with those names. */ -}}
{{- define "named" }}
{{- range $name, $fields := fromJSON (. | default "{}") }}
      {{ structToJSON (set $fields "name" $name) }},
{{- end }}
{{- end -}}

{{- define "probe.ready" }}httpGet: {path: /healthz/ready, port: 15021}, timeoutSeconds: 3{{ end -}}
