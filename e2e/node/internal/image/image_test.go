package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func contents(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	reader := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = data
	}
}

func TestArchiveHoldsTheProgramUnderItsDigestAndIsReproducible(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("machine code"), 0o755); err != nil {
		t.Fatal(err)
	}
	program := Program{Reference: "localhost/test:1", File: path, Path: "program"}
	var first, second bytes.Buffer
	for _, w := range []io.Writer{&first, &second} {
		if err := program.Write(w); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of one program differ")
	}

	files := contents(t, first.Bytes())
	var index []manifest
	if err := json.Unmarshal(files["manifest.json"], &index); err != nil {
		t.Fatal(err)
	}
	if len(index) != 1 || index[0].RepoTags[0] != "localhost/test:1" {
		t.Fatalf("manifest %+v", index)
	}
	var config imageConfig
	if err := json.Unmarshal(files[index[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	layer := files[index[0].Layers[0]]
	digest := sha256.Sum256(layer)
	if got, want := config.RootFS.DiffIDs[0], "sha256:"+hex.EncodeToString(digest[:]); got != want {
		t.Errorf("diff id %s, layer has %s", got, want)
	}
	if got := contents(t, layer)["program"]; string(got) != "machine code" {
		t.Errorf("layer holds %q", got)
	}
}
