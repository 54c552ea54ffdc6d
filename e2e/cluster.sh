# Functions of the demo and of the end-to-end tests: a Kubernetes that has our images. To be sourced from the repository's root.
#
# With $KUBECONFIG set that cluster is used and the images are pushed to $HUB; it is never started or stopped here.
# Otherwise the one-node cluster of e2e/node is.

CACHE="${CACHE:-$HOME/.cache/ironsail}"
NODE="$CACHE/bin/ironsail-node"
OWN_CLUSTER=$([ -z "${KUBECONFIG:-}" ] && echo yes || echo no)

# Pushes image archives; fetched and built by Go when a hub is used.
CRANE=github.com/google/go-containerregistry/cmd/crane@v0.22.1

# Starts the cluster unless it runs, and gives it the images of this checkout.
start_cluster() {
  if [ "$OWN_CLUSTER" = yes ]; then
    "$NODE" up
    "$NODE" load "$CACHE"/images/{operator,pilot,proxyv2,apps}.tar
    return
  fi
  [ -n "${HUB:-}" ] || { echo "KUBECONFIG is set: set HUB to a registry that the cluster pulls from" >&2; return 2; }
  local tag name
  tag=$(make -s print-tag)
  for name in operator pilot proxyv2 apps; do
    go run "$CRANE" push "$CACHE/images/$name.tar" "${HUB%/}/$name:$tag"
  done
}

# Lets this shell's kubectl and tests talk to the cluster.
use_cluster() {
  [ "$OWN_CLUSTER" = yes ] || return 0
  KUBECONFIG=$("$NODE" kubeconfig)
  IRONSAIL_AUDIT_LOG=$("$NODE" audit-log)
  export KUBECONFIG IRONSAIL_AUDIT_LOG IRONSAIL_NODE="$NODE"
  command -v kubectl >/dev/null || export PATH="$PATH:$CACHE/bin"
}

# Ends the cluster if it was started here.
stop_cluster() {
  if [ "$OWN_CLUSTER" = yes ] && [ -x "$NODE" ]; then "$NODE" down; fi
}
