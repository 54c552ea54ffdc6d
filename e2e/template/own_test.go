package template

import (
	"encoding/json"
	"fmt"
	"testing"

	"sigs.k8s.io/yaml"
)

// A pod, given as YAML, under an installation.
type injectionCase struct {
	name   string
	spec   string
	pod    string
	native bool
}

const (
	web = `
metadata: {generateName: web-7c9-, namespace: shop, labels: {app: web, version: v2, pod-template-hash: 7c9}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-7c9, controller: true}]%s}
spec: {serviceAccountName: web, initContainers: [{name: migrate, image: m}], containers: [{name: web, image: w, ports: [{containerPort: 8080, name: http}, {containerPort: 9, protocol: UDP}]}, {name: side, image: s}]}`
	edge = `
metadata: {name: edge, namespace: shop, labels: {istio: edge}, annotations: {inject.istio.io/templates: gateway}}
spec: {containers: [{name: istio-proxy, image: auto%s}]}`
)

func annotated(annotations string) string {
	return fmt.Sprintf(web, ", annotations: {"+annotations+"}")
}

func cases() []injectionCase {
	plain := fmt.Sprintf(web, "")
	gateway := fmt.Sprintf(edge, "")
	all := []injectionCase{
		{name: "plain", pod: plain},
		{name: "native", pod: plain, native: true},
		{name: "gateway", pod: gateway},
		{name: "pod-without-labels", pod: `{metadata: {name: bare}, spec: {containers: [{name: a, image: a}]}}`},
		{name: "own-settings", pod: `{metadata: {name: a, namespace: shop}, spec: {containers: [{name: a, image: a}, {name: istio-proxy, image: auto, env: [{name: A, value: b}, {name: TRUST_DOMAIN, value: mine}], resources: {requests: {cpu: 7m}}, args: [proxy, sidecar, own]}]}}`},
		{name: "own-settings-native", native: true, pod: `{metadata: {name: a, namespace: shop}, spec: {containers: [{name: a, image: a}, {name: istio-proxy, image: mine/proxy:1}]}}`},
		{name: "gateway-own-settings", pod: fmt.Sprintf(edge, `, ports: [{containerPort: 8443, name: https}], resources: {limits: {memory: 2Gi}}`)},
	}
	for name, annotations := range map[string]string{
		"not-native":          `sidecar.istio.io/nativeSidecar: "false"`,
		"none":                `sidecar.istio.io/interceptionMode: NONE`,
		"tproxy":              `sidecar.istio.io/interceptionMode: TPROXY`,
		"low-ports":           `sidecar.istio.io/capNetBindService: "true"`,
		"both-rights":         `sidecar.istio.io/capNetBindService: "true", sidecar.istio.io/interceptionMode: TPROXY`,
		"addresses":           `traffic.sidecar.istio.io/includeOutboundIPRanges: "10.0.0.0/8,11.0.0.0/8", traffic.sidecar.istio.io/excludeOutboundIPRanges: 10.1.0.0/16`,
		"inbound":             `traffic.sidecar.istio.io/includeInboundPorts: "8080,8443", traffic.sidecar.istio.io/excludeInboundPorts: "1,15020"`,
		"outbound":            `traffic.sidecar.istio.io/includeOutboundPorts: "80", traffic.sidecar.istio.io/excludeOutboundPorts: ""`,
		"interfaces":          `traffic.sidecar.istio.io/kubevirtInterfaces: net1, traffic.sidecar.istio.io/excludeInterfaces: eth1`,
		"virtual-interfaces":  `istio.io/reroute-virtual-interfaces: net2, traffic.sidecar.istio.io/kubevirtInterfaces: net1`,
		"levels":              `sidecar.istio.io/logLevel: debug, sidecar.istio.io/componentLogLevel: "http:trace", sidecar.istio.io/agentLogLevel: "default:debug"`,
		"resources":           `sidecar.istio.io/proxyCPU: 1m, sidecar.istio.io/proxyCPULimit: "2", sidecar.istio.io/proxyMemory: 1Mi, sidecar.istio.io/proxyMemoryLimit: 2Mi`,
		"one-limit":           `sidecar.istio.io/proxyMemoryLimit: 2Mi`,
		"image":               `sidecar.istio.io/proxyImage: "example.com/proxy:7"`,
		"image-without-hub":   `sidecar.istio.io/proxyImage: proxyv3`,
		"image-type":          `sidecar.istio.io/proxyImageType: debug`,
		"bootstrap":           `sidecar.istio.io/bootstrapOverride: mine`,
		"volumes":             `sidecar.istio.io/userVolume: '{"v": {"secret": {"secretName": "s"}}}', sidecar.istio.io/userVolumeMount: '{"v": {"mountPath": "/v", "readOnly": true}}'`,
		"readiness":           `readiness.status.sidecar.istio.io/initialDelaySeconds: "2", readiness.status.sidecar.istio.io/periodSeconds: "3", readiness.status.sidecar.istio.io/failureThreshold: "5"`,
		"no-status":           `status.sidecar.istio.io/port: "0"`,
		"hold":                `proxy.istio.io/config: '{"holdApplicationUntilProxyStarts": true}'`,
		"proxy-config":        `proxy.istio.io/config: '{"concurrency": 3, "proxyMetadata": {"B": "2", "A": "one: two"}, "image": {"imageType": "distroless"}, "interceptionMode": "TPROXY"}'`,
		"default-container":   `kubectl.kubernetes.io/default-container: side`,
		"named-by-annotation": `inject.istio.io/templates: " sidecar "`,
	} {
		all = append(all, injectionCase{name: name, pod: annotated(annotations)},
			injectionCase{name: name + "-native", pod: annotated(annotations), native: true})
	}
	for name, spec := range map[string]string{
		"network-plugin": `{values: {pilot: {cni: {enabled: true}}}, components: {cni: {enabled: true}}}`,
		"multus":         `{values: {pilot: {cni: {provider: multus}}}, components: {cni: {enabled: true}}}`,
		"revision":       `{revision: canary, values: {global: {network: n1, meshID: m1, multiCluster: {clusterName: c1}}}}`,
		"certificates":   `{values: {global: {caAddress: "ca:1", mountMtlsCerts: true, pilotCertProvider: "k8s.io/x", sds: {token: {aud: other}}, trustBundleName: roots}}}`,
		"trust-bundle":   `{values: {global: {trustBundleName: roots}}}`,
		"cluster-bundle": `{values: {pilot: {env: {ENABLE_CLUSTER_TRUST_BUNDLE_API: true}}}}`,
		"pull":           `{values: {global: {imagePullPolicy: Always, imagePullSecrets: [a, b]}}}`,
		"logs":           `{values: {global: {logAsJson: true, logging: {level: "all:debug"}, proxy: {logLevel: info, componentLogLevel: "a:b", outlierLogPath: /dev/stdout}, sts: {servicePort: 15463}}}}`,
		"capture":        `{values: {global: {nativeNftables: true, proxy: {includeIPRanges: 10.0.0.0/8, excludeIPRanges: 10.1.0.0/16, includeInboundPorts: "80", excludeInboundPorts: "81", includeOutboundPorts: "82", excludeOutboundPorts: "83", privileged: true}}}, unvalidatedValues: {global: {proxy_init: {forceApplyIptables: true}}}}`,
		"probes":         `{values: {global: {proxy: {statusPort: 15999, startupProbe: {enabled: false}, readinessPeriodSeconds: 7, readinessInitialDelaySeconds: 1, readinessFailureThreshold: 9}}}}`,
		"lifecycle":      `{values: {global: {proxy: {lifecycle: {preStop: {exec: {command: [sleep, "5"]}}}, seccompProfile: {type: RuntimeDefault}, resources: {requests: {cpu: 3m, memory: null}}}}}}`,
		"images":         `{values: {global: {proxy: {image: "a/b:c"}, proxy_init: {image: "d/e:f"}}}}`,
		"image-names":    `{values: {global: {variant: debug, proxy: {image: p2}, proxy_init: {image: p2}}}}`,
		"gateways":       `{values: {gateways: {seccompProfile: {type: RuntimeDefault}}}}`,
		"gateway-rights": `{values: {gateways: {securityContext: {runAsUser: 7}}}}`,
		"mesh":           `{meshConfig: {trustDomain: td, proxyListenPort: 1, proxyInboundListenPort: 2, defaultConfig: {holdApplicationUntilProxyStarts: true, proxyMetadata: {X: "1"}, discoveryAddress: "d:1", interceptionMode: TPROXY}}}`,
		"domain":         `{values: {global: {proxy: {clusterDomain: example.org}}}}`,
	} {
		all = append(all, injectionCase{name: name, spec: spec, pod: plain},
			injectionCase{name: name + "-native", spec: spec, pod: plain, native: true},
			injectionCase{name: name + "-gateway", spec: spec, pod: gateway})
	}
	return all
}

// The templates give the pods that Ironsail's own injector gives. Not so is a proxy that is told to offer HBONE: only
// templates announce it, because Ironsail's proxy has none.
func TestOwnInjector(t *testing.T) {
	own := program(t, injectVariable)
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			spec, pod := decoded(t, c.spec), decoded(t, c.pod)
			installed, data := render(t, spec)
			revision, _ := spec["revision"].(string)
			out, err := run(t, own, fields{
				"pod": pod, "config": data["config"], "values": data["values"], "mesh": installed.Mesh,
				"revision": revision, "native": c.native,
			})
			if err != nil {
				t.Fatal(err)
			}
			after := fields{}
			if err := json.Unmarshal(out, &after); err != nil {
				t.Fatal(err)
			}
			checkInjection(t, installed, pod, after, c.native)
		})
	}
}

func decoded(t *testing.T, text string) fields {
	t.Helper()
	value := fields{}
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestTunnelLabel(t *testing.T) {
	installed, _ := render(t, nil)
	hbone := `proxy.istio.io/config: '{"proxyMetadata": {"ISTIO_META_ENABLE_HBONE": "true"}}'`
	for annotations, want := range map[string]string{hbone: "http", "a: b": ""} {
		result, err := installed.inject(podOf(t, decoded(t, annotated(annotations))), false)
		if err != nil {
			t.Fatal(err)
		}
		if got := result.Pod.Labels["networking.istio.io/tunnel"]; got != want {
			t.Errorf("tunnel %q with %s", got, annotations)
		}
	}
}
