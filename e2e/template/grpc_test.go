package template

import (
	"testing"
)

// Pods whose applications speak xDS themselves are those that were reviewed.
func TestProxylessPods(t *testing.T) {
	installed, _ := render(t, nil)
	for _, template := range []string{"grpc-simple", "grpc-agent"} {
		t.Run(template, func(t *testing.T) {
			pod := podOf(t, decoded(t, annotated(`inject.istio.io/templates: `+template)))
			result, err := installed.inject(pod, false)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, template, result.Pod)
		})
	}
}
