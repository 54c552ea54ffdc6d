#!/usr/bin/env bash
# Builds ironsail-node, and the programs of the images it brings, into $IRONSAIL_CACHE/bin (default ~/.cache/ironsail/bin).
# Nothing is built when sources and toolchain are those of the last build. GO_BUILD_PREFIX is put before the compiler, e.g. nice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

bin="${IRONSAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ironsail}/bin"
kubernetes="$(sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\)$|\1|p' go.mod)"
IFS=. read -r major minor _ <<<"${kubernetes#v}"
version=k8s.io/component-base/version
ldflags="-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=$major -X $version.gitMinor=$minor -X $version.gitTreeState=clean"
export CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" GOWORK=off

sources="$(find . -type f ! -name '*_test.go' ! -path './verify/*' \( -name '*.go' -o -path '*/internal/kube/*' -o -name 'go.*' -o -name build.sh \) -print0 | sort -z | xargs -0 sha256sum)"
stamp="$(printf '%s\n%s\n' "$sources" "$(go version)" | sha256sum | cut -d' ' -f1)"
if [[ -x "$bin/ironsail-node" && "$(cat "$bin/.ironsail-node.stamp" 2>/dev/null)" == "$stamp" ]]; then
	echo "$bin/ironsail-node is current"
	exit 0
fi

mkdir -p "$bin"
new="$(mktemp -d "$bin/.build.XXXXXX")"
trap 'rm -rf "$new"' EXIT
echo "building $bin/ironsail-node (some minutes the first time)"
${GO_BUILD_PREFIX:-} go build -ldflags "$ldflags" -o "$new/ironsail-node" .
for program in coredns pause; do
	${GO_BUILD_PREFIX:-} go build -ldflags "$ldflags" -o "$new/ironsail-node-$program" "./cmd/$program"
done
# Programs that run keep their file; new ones get the new one.
mv -f "$new"/ironsail-node* "$bin/"
ln -sf ironsail-node "$bin/kubectl"
echo "$stamp" >"$bin/.ironsail-node.stamp"
