package template

import (
	"fmt"
	"testing"
)

// Text that a reader of YAML 1.1, which kubectl and istiod have, could take for something else.
var ambiguous = []string{
	"y", "N", "yes", "No", "on", "OFF", "true", "TRUE", "null", "~", "", "=", "<<", "012", "0o17", "0b11", "0x1f", "1_000", "12_3.4",
	"1__0", "1:30", "190:20:30", "1e3", "12e3", ".5", "+1", "-0", "1.", ".inf", ".NaN", "2001-01-01", "2001-01-01T00:00:00Z", "1,000",
	"- a", "a: b", "#x", " x", "x ", "a\nb", "a\n", " a\nb", "\ta", "\u0085", "a\u2028b", "{a: b}", "[a]", "*a", "&a", "!a", "%a", "@a", "`a",
}

// What the operator prints is read by Go's readers as it was meant.
func TestTextsStayTexts(t *testing.T) {
	annotations := fields{}
	for index, text := range ambiguous {
		annotations[fmt.Sprintf("k%02d", index)] = text
	}
	found := rendered(t, fields{"values": fields{"pilot": fields{"podAnnotations": annotations}}})
	pod := found["Deployment istiod"]["spec"].(fields)["template"].(fields)["metadata"].(fields)["annotations"].(fields)
	for key, text := range annotations {
		if pod[key] != text {
			t.Errorf("%q is read as %#v", text, pod[key])
		}
	}
}

// The same of the documents that istiod reads out of ConfigMaps.
func TestTextsInDocumentsStayTexts(t *testing.T) {
	metadata := fields{}
	for index, text := range ambiguous {
		metadata[fmt.Sprintf("k%02d", index)] = text
	}
	installed, _ := render(t, fields{"meshConfig": fields{"defaultConfig": fields{"proxyMetadata": metadata}}})
	config, err := meshConfig(installed.Mesh)
	if err != nil {
		t.Fatal(err)
	}
	for key, text := range metadata {
		if got := config.DefaultConfig.ProxyMetadata[key]; got != text {
			t.Errorf("%q is read as %q", text, got)
		}
	}
}
