package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// parse reads a template with the functions that stock istiod gives to its templates: all of sprig, and its own on top,
// some of which replace sprig's. Only those that the shipped templates use are here, so that the use of any other one
// is an error.
func parse(name, text string) (*template.Template, error) {
	functions := sprig.TxtFuncMap()
	for _, replaced := range []string{"env", "expandenv", "indent", "toJson", "toYaml"} {
		delete(functions, replaced)
	}
	maps.Copy(functions, template.FuncMap{
		"annotation":          annotation,
		"appendMultusNetwork": appendMultusNetwork,
		"contains":            func(needle, text string) bool { return strings.Contains(text, needle) },
		"directory":           func(file string) string { directory, _ := path.Split(file); return directory },
		"excludeInboundPort":  excludeInboundPort,
		"fromJSON":            fromJSON,
		"isset":               func(texts map[string]string, key string) bool { _, found := texts[key]; return found },
		"omit":                omit,
		"protoToJSON":         protoToJSON,
		"strdict":             strdict,
		"structToJSON":        structToJSON,
		"toJsonMap":           toJSONMap,
		"toLower":             strings.ToLower,
		"valueOrDefault":      valueOrDefault,
	})
	return template.New(name).Funcs(functions).Parse(text)
}

func annotation(meta metav1.ObjectMeta, name string, fallback any) string {
	if value, found := meta.Annotations[name]; found {
		return value
	}
	return fmt.Sprint(fallback)
}

func appendMultusNetwork(existing, network string) string {
	switch {
	case existing == "":
		return network
	case strings.Contains(existing, network):
		return existing
	default:
		return existing + ", " + network
	}
}

func excludeInboundPort(port any, excluded string) string {
	text := strings.TrimSpace(fmt.Sprint(port))
	ports := strings.Split(excluded, ",")
	if text == "" || text == "0" || slices.Contains(ports, text) {
		return excluded
	}
	kept := slices.DeleteFunc(ports, func(port string) bool { return strings.TrimSpace(port) == "" })
	return strings.Join(append(kept, text), ",")
}

func fromJSON(text string) any {
	var value any
	if json.Unmarshal([]byte(text), &value) != nil {
		return "{}"
	}
	return value
}

func omit(texts map[string]string, keys ...string) map[string]string {
	kept := maps.Clone(texts)
	for _, key := range keys {
		delete(kept, key)
	}
	return kept
}

// protoToJSON leaves out what the agent assumes anyway.
func protoToJSON(message proto.Message) (string, error) {
	if config, is := message.(*meshv1alpha1.ProxyConfig); is {
		message = withoutDefaults(config)
	}
	text, err := protojson.Marshal(message)
	return string(text), err
}

func strdict(pairs ...string) map[string]string {
	texts := map[string]string{}
	for pair := range slices.Chunk(pairs, 2) {
		texts[pair[0]] = pair[1]
	}
	return texts
}

func structToJSON(value any) (string, error) {
	text, err := json.Marshal(value)
	return string(text), err
}

func toJSONMap(all ...map[string]string) (string, error) {
	merged := map[string]string{}
	for _, texts := range all {
		maps.Copy(merged, texts)
	}
	return structToJSON(merged)
}

func valueOrDefault(value, fallback any) any {
	if value == nil || value == "" {
		return fallback
	}
	return value
}
