// Package image writes container images of one static program as docker archives, without any other tool.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// Program is an image that holds one static program and nothing else.
type Program struct {
	// Reference names the image: repository and tag.
	Reference string
	// File is the program on this machine.
	File string
	// Path is where the image has it, without the leading slash; also the entry point.
	Path string
}

type imageConfig struct {
	Created      time.Time     `json:"created"`
	Architecture string        `json:"architecture"`
	OS           string        `json:"os"`
	Config       runtimeConfig `json:"config"`
	RootFS       rootFS        `json:"rootfs"`
}

type runtimeConfig struct {
	Entrypoint []string `json:"Entrypoint"`
	WorkingDir string   `json:"WorkingDir"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type manifest struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

// Write writes the archive. The same program gives the same bytes.
func (p Program) Write(w io.Writer) error {
	program, err := os.ReadFile(p.File)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	if err := writeTar(&layer, file{p.Path, 0o755, program}); err != nil {
		return err
	}
	digest := sha256.Sum256(layer.Bytes())
	diffID := hex.EncodeToString(digest[:])
	config, err := json.Marshal(imageConfig{
		Created:      time.Unix(0, 0).UTC(),
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Config:       runtimeConfig{Entrypoint: []string{"/" + p.Path}, WorkingDir: "/"},
		RootFS:       rootFS{Type: "layers", DiffIDs: []string{"sha256:" + diffID}},
	})
	if err != nil {
		return err
	}
	configDigest := sha256.Sum256(config)
	configName := hex.EncodeToString(configDigest[:]) + ".json"
	layerName := diffID + "/layer.tar"
	index, err := json.Marshal([]manifest{{Config: configName, RepoTags: []string{p.Reference}, Layers: []string{layerName}}})
	if err != nil {
		return err
	}
	return writeTar(w,
		file{layerName, 0o644, layer.Bytes()},
		file{configName, 0o644, config},
		file{"manifest.json", 0o644, index},
	)
}

// WriteFile writes the archive to a file.
func (p Program) WriteFile(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := p.Write(f); err != nil {
		_ = f.Close() // the first error counts
		return fmt.Errorf("image %s: %w", p.Reference, err)
	}
	return f.Close()
}

type file struct {
	name string
	mode int64
	data []byte
}

func writeTar(w io.Writer, files ...file) error {
	archive := tar.NewWriter(w)
	for _, f := range files {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.data); err != nil {
			return err
		}
	}
	return archive.Close()
}
