#!/usr/bin/env bash
# The demo: from a bare machine to Bookinfo traffic. `make demo`, `make demo-upgrade` and `make demo-down` call it.
#
#   demo.sh up        the whole demo
#   demo.sh upgrade   moves it to another revision under load
#   demo.sh down      removes what they made
set -euo pipefail
cd "$(dirname "$0")/.."

. e2e/cluster.sh
NAMESPACE=bookinfo
REQUESTS=400
LOCAL_HUB=ironsail

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

# Runs a step quietly, with a dot every five seconds; its output shows when it fails.
step() {
  local what=$1; shift
  printf '%s ' "$what"
  local log; log=$(mktemp)
  "$@" >"$log" 2>&1 & local pid=$!
  local since=$SECONDS
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    (( (SECONDS - since) % 5 == 0 )) && printf '.'
  done
  if wait "$pid"; then printf ' %ss\n' $((SECONDS - since)); rm -f "$log"
  else printf ' failed\n'; cat "$log"; rm -f "$log"; exit 1; fi
}

# A manifest with images of $HUB.
manifest() {
  local hub=${HUB:-$LOCAL_HUB}
  sed -e "s|image: $LOCAL_HUB/|image: $hub/|" -e "s|value: $LOCAL_HUB\$|value: $hub|" "$1"
}

install_mesh() {
  manifest deploy/operator.yaml | kubectl apply -f -
  kubectl -n istio-operator rollout status deployment/istio-operator --timeout=120s
  manifest deploy/samples/iop-demo.yaml | kubectl apply -f -
  kubectl -n istio-system wait istiooperator/demo --for=jsonpath='{.status.status}'=HEALTHY --timeout=180s
}

install_bookinfo() {
  kubectl create namespace "$NAMESPACE" --dry-run=client -o yaml | kubectl apply -f -
  kubectl label namespace "$NAMESPACE" istio-injection=enabled --overwrite
  manifest deploy/samples/bookinfo.yaml | kubectl -n "$NAMESPACE" apply -f -
  kubectl -n "$NAMESPACE" apply -f deploy/samples/bookinfo-networking.yaml
  for deployment in $(kubectl -n "$NAMESPACE" get deployments -o name); do
    kubectl -n "$NAMESPACE" rollout status "$deployment" --timeout=120s
  done
  kubectl -n "$NAMESPACE" apply -f - <<YAML
$(manifest deploy/samples/load.yaml)
YAML
  kubectl -n "$NAMESPACE" rollout status deployment/load --timeout=60s
}

# Requests from a pod without a proxy, through the gateway.
send_requests() {
  local url=http://istio-ingressgateway.istio-system/productpage
  for _ in $(seq 30); do
    kubectl -n "$NAMESPACE" exec deploy/load -- /usr/local/bin/apps get "$url" 2>/dev/null | head -1 | grep -q 200 && break
    sleep 1
  done
  kubectl -n "$NAMESPACE" exec deploy/load -- /usr/local/bin/apps load "$url" \
    --count "$REQUESTS" --rate 100 --count-header x-reviews-version
}

proxy_stats() { kubectl -n "$NAMESPACE" exec "$1" -c istio-proxy -- pilot-agent request GET stats/prometheus; }

label_of() { sed -n "s/.*[{,]$2=\"\([^\"]*\)\".*/\1/p" <<<"$1"; }

# Resident memory that a program reports of itself, in MiB.
memory_of() {
  kubectl get --raw "/api/v1/namespaces/$1/pods/$2:$3/proxy/$4" 2>/dev/null |
    awk '/^(istio_agent_)?process_resident_memory_bytes/ {printf "%.1f MiB", $2 / 1048576}'
}

report() {
  local summary=$1 series pod
  pod=$(kubectl -n "$NAMESPACE" get pod -l app=ratings -o jsonpath='{.items[0].metadata.name}')
  series=$(proxy_stats "$pod" | grep '^istio_requests_total{' | grep 'reporter="destination"' | head -1)
  say "What happened"
  printf '%-34s %s\n' "requests" "$(jq -r '"\(.sent) sent, \(.ok) answered, \(.failed) failed"' <<<"$summary")"
  jq -r '.by_header | to_entries[] | "\(.key) \(.value)"' <<<"$summary" | while read -r version count; do
    printf '%-34s %s\n' "reviews $version" "$count of $REQUESTS ($(((count * 200 + REQUESTS) / (2 * REQUESTS))) %)"
  done
  printf '%-34s %s\n' "a call: from" "$(label_of "$series" source_principal)"
  printf '%-34s %s\n' "a call: to" "$(label_of "$series" destination_principal)"
  printf '%-34s %s\n' "a call: protected by" "$(label_of "$series" connection_security_policy)"
  printf '%-34s %s\n' "istio_requests_total (ratings)" "${series##* }"
  say "Versions and memory"
  memory_table
}

memory_table() {
  local what namespace selector port path pod image
  while read -r what namespace selector port path; do
    pod=$(kubectl -n "$namespace" get pod -l "$selector" -o jsonpath='{.items[0].metadata.name}')
    # Of the operator's pods, the one that works.
    [ "$what" != operator ] || pod=$(kubectl -n "$namespace" get lease istio-operator-lock -o jsonpath='{.spec.holderIdentity}')
    image=$(kubectl -n "$namespace" get pod "$pod" -o json |
      jq -r '[.spec.containers[], (.spec.initContainers // [])[]] | map(.image | select(test("apps:") | not))[0]')
    printf '%-34s %-40s %s\n' "${what//-/ }" "$image" "$(memory_of "$namespace" "$pod" "$port" "$path")"
  done <<LIST
operator istio-operator name=istio-operator 8383 metrics
control-plane istio-system app=istiod 15014 metrics
ingress-gateway istio-system app=istio-ingressgateway 15020 stats/prometheus
sidecar-of-productpage $NAMESPACE app=productpage 15020 stats/prometheus
LIST
}

up() {
  say "Ironsail demo"
  make -s tools node-tools
  step "Building the programs (minutes, the first time)" make -s images
  if [ "$OWN_CLUSTER" = yes ]; then
    step "Building the one-node Kubernetes (minutes, the first time)" make -s node
  fi
  step "Starting Kubernetes and loading images" start_cluster
  use_cluster
  step "Installing the mesh" install_mesh
  step "Deploying Bookinfo" install_bookinfo
  printf 'Sending %s requests through the ingress gateway\n' "$REQUESTS"
  local summary; summary=$(send_requests)
  report "$summary"
  say "Next"
  cat <<TEXT
  export KUBECONFIG=$KUBECONFIG PATH=\$PATH:$(dirname "$(command -v kubectl)")
  kubectl -n istio-system get istiooperator,pods
  kubectl -n $NAMESPACE exec deploy/load -- apps get http://istio-ingressgateway.istio-system/productpage
  kubectl -n $NAMESPACE edit virtualservice reviews        # change the weights
  make demo-upgrade                                      # to another revision, under load
  make demo-down
TEXT
}

# Sends 100 requests a second until a file is there; one summary per ten seconds.
send_until() {
  local done=$1 url=http://istio-ingressgateway.istio-system/productpage
  until [ -e "$done" ]; do
    kubectl -n "$NAMESPACE" exec deploy/load -- /usr/local/bin/apps load "$url" --seconds 10 --rate 100
  done
}

# The revision beside the one that serves: all that `demo` has, and the default.
canary() {
  cat <<YAML
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: canary, namespace: istio-system}
spec:
  profile: demo
  revision: canary
  values: {revisionTags: [default]}
YAML
}

# Its gateways are still the other resource's, so it is not HEALTHY yet.
install_canary() {
  canary | kubectl apply -f -
  kubectl -n istio-system wait deployment/istiod-canary --for=create --timeout=60s
  kubectl -n istio-system rollout status deployment/istiod-canary --timeout=120s
  kubectl wait mutatingwebhookconfiguration/istio-revision-tag-default --timeout=60s \
    --for=jsonpath='{.webhooks[0].clientConfig.service.name}'=istiod-canary
}

restart_bookinfo() {
  kubectl -n "$NAMESPACE" rollout restart $(kubectl -n "$NAMESPACE" get deployments -o name | grep -v /load)
  for deployment in $(kubectl -n "$NAMESPACE" get deployments -o name); do
    kubectl -n "$NAMESPACE" rollout status "$deployment" --timeout=180s
  done
}

# The gateways are handed over, and change when their new control plane is ready, one at a time.
remove_old() {
  kubectl -n istio-system delete istiooperator demo --timeout=120s
  kubectl -n istio-system wait istiooperator/canary --for=jsonpath='{.status.status}'=HEALTHY --timeout=180s
}

revisions() {
  kubectl get pods -n "$1" -o json |
    jq -r '.items[] | select(.metadata.deletionTimestamp | not) | select(.metadata.annotations["istio.io/rev"]) | "\(.metadata.annotations["istio.io/rev"])"' | sort | uniq -c |
    while read -r count revision; do printf '%-34s %s pods\n' "$1: $revision" "$count"; done
}

upgrade() {
  use_cluster
  kubectl -n istio-system get istiooperator demo >/dev/null || { echo "Run \`make demo\` first" >&2; exit 1; }
  say "Upgrade to a revision beside the one that serves, at 100 requests a second"
  local results stop load; results=$(mktemp); stop=$(mktemp -u)
  send_until "$stop" >"$results" & load=$!
  step "Installing revision canary and making it the default" install_canary
  step "Restarting Bookinfo" restart_bookinfo
  step "Removing the old revision; its gateways follow" remove_old
  touch "$stop"
  wait "$load"
  say "What happened"
  printf '%-34s %s\n' "requests" \
    "$(jq -rs '"\(map(.sent) | add) sent, \(map(.ok) | add) answered, \(map(.failed) | add) failed"' "$results")"
  revisions "$NAMESPACE"
  revisions istio-system
  kubectl -n istio-system get istiooperator
  rm -f "$results" "$stop"
}

down() {
  if [ "$OWN_CLUSTER" = yes ]; then
    stop_cluster
    return
  fi
  kubectl delete namespace "$NAMESPACE" --ignore-not-found
  kubectl -n istio-system delete istiooperator demo canary --ignore-not-found --timeout=90s || true
  manifest deploy/operator.yaml | kubectl delete --ignore-not-found -f -
}

case "${1:-}" in
  up) up ;;
  upgrade) upgrade ;;
  down) down ;;
  *) echo "usage: demo.sh up|upgrade|down" >&2; exit 2 ;;
esac
