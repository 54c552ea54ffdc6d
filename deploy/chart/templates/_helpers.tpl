{{/* The name of everything: it is part of names that the program knows. */}}
{{- define "operator.name" -}}
istio-operator{{ with .Values.revision }}-{{ . }}{{ end }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "operator.labels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/name: istio-operator
app.kubernetes.io/part-of: istio
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
name: {{ include "operator.name" . }}
{{- end }}

{{- define "operator.tag" -}}
{{ .Values.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "operator.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
