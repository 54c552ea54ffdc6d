package template

import (
	"encoding/json"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"
)

// Lists whose order says nothing, and what their items are told apart by.
var keyedLists = map[string]string{
	"containers": "name", "initContainers": "name", "volumes": "name", "env": "name", "volumeMounts": "mountPath",
}

// Annotations and variables that istiod writes after the templates: metrics, probes and its own records.
var (
	writtenAnnotations = []string{
		"prometheus.io/path", "prometheus.io/port", "prometheus.io/scrape",
		"proxy.istio.io/overrides", "sidecar.istio.io/status",
	}
	writtenVariables = []string{"ISTIO_KUBE_APP_PROBERS", "ISTIO_PROMETHEUS_ANNOTATIONS"}
	rewrittenProbes  = []string{"livenessProbe", "readinessProbe", "startupProbe"}
)

// meaning is a form in which pods of equal meaning are equal: without nulls and empty values, quantities in one spelling,
// documents in texts parsed, lists with keys as maps; without what istiod does after the templates.
func meaning(pod any) (map[string]any, error) {
	text, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	normal := map[string]any{}
	for _, part := range []string{"metadata", "spec"} {
		normal[part] = normalized(part, fields[part])
	}
	withoutPostProcessing(normal)
	return normal, nil
}

func normalized(key string, value any) any {
	switch value := value.(type) {
	case map[string]any:
		fields := map[string]any{}
		for name, field := range value {
			if below := normalized(name, field); !isEmpty(name, below) {
				fields[name] = below
			}
		}
		return fields
	case []any:
		return normalizedList(key, value)
	case string:
		if key == "cpu" || key == "memory" {
			if amount, err := resource.ParseQuantity(value); err == nil {
				return amount.AsApproximateFloat64()
			}
		}
		return parsed(value)
	}
	return value
}

// isEmpty holds for what the API server adds or leaves out by itself. A volume without a source is an empty directory.
func isEmpty(name string, value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	case string:
		return value == "" && (name == "value" || name == "uid")
	case float64:
		return value == 0 && name == "initialDelaySeconds"
	}
	return false
}

func normalizedList(key string, items []any) any {
	by, keyed := keyedLists[key]
	entries := map[string]any{}
	list := []any{}
	for _, item := range items {
		item := normalized("", item)
		list = append(list, item)
		if fields, is := item.(map[string]any); is && keyed {
			entries[fields[by].(string)] = item
		}
	}
	if keyed {
		return entries
	}
	return list
}

// parsed is the document that a text holds, or the text.
func parsed(text string) any {
	var document any
	if !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[") || json.Unmarshal([]byte(text), &document) != nil {
		return text
	}
	normal := normalized("", document)
	if isEmpty("", normal) {
		return map[string]any{}
	}
	return normal
}

func withoutPostProcessing(pod map[string]any) {
	metadata := pod["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	for _, name := range writtenAnnotations {
		delete(annotations, name)
	}
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	spec := pod["spec"].(map[string]any)
	for _, list := range []string{"containers", "initContainers"} {
		containers, _ := spec[list].(map[string]any)
		for name, container := range containers {
			container := container.(map[string]any)
			env, _ := container["env"].(map[string]any)
			for _, variable := range writtenVariables {
				delete(env, variable)
			}
			withoutStatusPort(env)
			if name == proxyContainer {
				continue
			}
			for _, probe := range rewrittenProbes {
				delete(container, probe)
			}
		}
	}
}

// withoutStatusPort drops what annotation status.sidecar.istio.io/port says too: istiod leaves it to the agent to read
// that, Ironsail's injector writes it into the configuration.
func withoutStatusPort(env map[string]any) {
	variable, _ := env["PROXY_CONFIG"].(map[string]any)
	config, _ := variable["value"].(map[string]any)
	delete(config, "statusPort")
	if len(config) == 0 {
		delete(variable, "value")
	}
}

// shown is a form to read differences in.
func shown(value any) string {
	text, err := yaml.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
