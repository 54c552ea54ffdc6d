{{- /* Blocks of the two templates whose proxy is agentgateway. */ -}}

{{- define "agentgateway.container" }}
      - name: agentgateway
        {{- $asked := annotation .ObjectMeta "gateway.istio.io/agentgatewayImage" "" }}
        image: {{ contains "/" $asked | ternary $asked .AgentgatewayImage | quote }}
        {{ template "pull.policy" . }}
        args: [--config, "{}"]
        ports: [
      {containerPort: 15020, name: metrics, protocol: TCP},
      {containerPort: 15021, name: status-port, protocol: TCP},
          ]
        {{- template "probes" }}
        securityContext:
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL]}
          privileged: false
          readOnlyRootFilesystem: true
          runAsGroup: {{ .ProxyGID | default 10101 }}
          runAsNonRoot: true
          runAsUser: {{ .ProxyUID | default 10101 }}
{{- end -}}

{{- define "env.agentgateway" }}
      {{ template "env.field" (list "POD_NAME" "metadata.name") }}
      {{ template "env.field" (list "POD_NAMESPACE" "metadata.namespace") }}
      {{ template "env.field" (list "NAMESPACE" "metadata.namespace") }}
      {{ template "env.field" (list "INSTANCE_IP" "status.podIP") }}
      {{ template "env.field" (list "SERVICE_ACCOUNT" "spec.serviceAccountName") }}
      {{ template "env.limit" (list "CPU_LIMIT" "limits.cpu") }}
      {name: GATEWAY, value: {{ quote .Name }}},
      {name: RUST_BACKTRACE, value: "1"},
      {name: CLUSTER_ID, value: {{ valueOrDefault .Values.global.multiCluster.clusterName .ClusterID | quote }}},
      {{- with valueOrDefault (index .InfrastructureLabels "topology.istio.io/network") .Values.global.network }}
      {name: NETWORK, value: {{ quote . }}},
      {{- end }}
      {{- with valueOrDefault .MeshConfig.TrustDomain .Values.global.trustDomain }}
      {name: TRUST_DOMAIN, value: {{ quote . }}},
      {{- end }}
      {{- template "env.metadata" . }}
      {name: XDS_ADDRESS, value: {{ quote .ProxyConfig.DiscoveryAddress }}},
{{- end -}}
