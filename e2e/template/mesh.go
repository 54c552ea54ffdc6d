package template

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	"sigs.k8s.io/yaml"
)

// What istiod lays under the mesh document.
const meshDefaults = `
trustDomain: cluster.local
proxyListenPort: 15001
proxyInboundListenPort: 15006
enablePrometheusMerge: true
inboundTrafficPolicy: {mode: PASSTHROUGH}
defaultConfig:
  configPath: ./etc/istio/proxy
  binaryPath: /usr/local/bin/envoy
  serviceCluster: istio-proxy
  drainDuration: 45s
  terminationDrainDuration: 5s
  discoveryAddress: istiod.istio-system.svc:15012
  controlPlaneAuthPolicy: MUTUAL_TLS
  proxyAdminPort: 15000
  statNameLength: 189
  statusPort: 15020
`

// meshConfig merges documents over the defaults, the last one wins.
func meshConfig(documents ...string) (*meshv1alpha1.MeshConfig, error) {
	merged := map[string]any{}
	for _, document := range append([]string{meshDefaults}, documents...) {
		over := map[string]any{}
		if err := yaml.Unmarshal([]byte(document), &over); err != nil {
			return nil, fmt.Errorf("mesh document: %w", err)
		}
		mergeInto(merged, over)
	}
	text, err := json.Marshal(merged)
	if err != nil {
		return nil, err
	}
	config := &meshv1alpha1.MeshConfig{}
	return config, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(text, config)
}

func mergeInto(base, over map[string]any) {
	for key, value := range over {
		below, isMap := value.(map[string]any)
		existing, wasMap := base[key].(map[string]any)
		if isMap && wasMap {
			mergeInto(existing, below)
		} else {
			base[key] = value
		}
	}
}

func withoutDefaults(config *meshv1alpha1.ProxyConfig) proto.Message {
	defaults, err := meshConfig()
	if err != nil {
		panic(err)
	}
	kept := proto.Clone(config).ProtoReflect()
	assumed := defaults.DefaultConfig.ProtoReflect()
	kept.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if assumed.Has(field) && value.Equal(assumed.Get(field)) {
			kept.Clear(field)
		}
		return true
	})
	return kept.Interface()
}
