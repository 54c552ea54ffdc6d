# Targets for people; `make help` lists them. Everything that a target needs it installs or builds.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:

CACHE ?= $(HOME)/.cache/ironsail
export CARGO_TARGET_DIR ?= $(CACHE)/target
# Golden files are those of this checkout, whichever one compiled the tests.
export INSTA_WORKSPACE_ROOT := $(CURDIR)
export HUB ?=
export TAG ?= $(shell sed -n 's/^pub const VERSION: &str = "\(.*\)";/\1/p' lib/mesh/src/lib.rs)

TARGET := x86_64-unknown-linux-gnu
RELEASE := $(CARGO_TARGET_DIR)/$(TARGET)/release
DEV := $(CARGO_TARGET_DIR)/$(TARGET)/debug
DIST := $(CARGO_TARGET_DIR)/$(TARGET)/dist
NODE := $(CACHE)/bin/ironsail-node
IMAGES := $(CACHE)/images
PROGRAMS := -p ironsail-operator -p ironsail-cli -p ironsail-controlplane -p ironsail-proxy -p ironsail-apps -p ironsail-e2e

# REPRODUCIBLE=1: programs that do not tell where they were built. Flags of the configuration are added to those of the repository.
CARGO_HOME ?= $(HOME)/.cargo
NEUTRAL := --config 'target.$(TARGET).rustflags=["--remap-path-prefix=$(CURDIR)=/src","--remap-path-prefix=$(CARGO_HOME)=/cargo","--remap-path-prefix=$(CARGO_TARGET_DIR)=/target"]'
ifdef REPRODUCIBLE
export SOURCE_DATE_EPOCH ?= 0
export CFLAGS += -ffile-prefix-map=$(CURDIR)=/src -ffile-prefix-map=$(CARGO_HOME)=/cargo -ffile-prefix-map=$(CARGO_TARGET_DIR)=/target
endif

# What building needs, and what the one-node Kubernetes needs.
BUILD_PACKAGES := mold gcc libc6-dev cmake make
NODE_PACKAGES := jq containerd runc containernetworking-plugins nftables conntrack iproute2 util-linux ca-certificates

define install
	missing=""
	for package in $(1); do dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; done
	if [ -n "$$missing" ]; then
	  echo "Installing$$missing"
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null
	fi
endef

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

.PHONY: tools
tools:
	@$(call install,$(BUILD_PACKAGES))

.PHONY: node-tools
node-tools:
	@$(call install,$(NODE_PACKAGES))

# Programs of others that tests and benchmarks hold ours against, unpacked into the cache, and what they need.
PEER_PACKAGES := openssl python3-pip libpcre2-8-0 libssl3 libcrypt1 zlib1g

.PHONY: peer-tools
peer-tools: ## fetch the programs of others that tests need
	@$(call install,$(PEER_PACKAGES))
	CACHE=$(CACHE) e2e/peer/fetch.sh

BENCH_PACKAGES := wrk nghttp2-client util-linux

.PHONY: bench-tools
bench-tools: peer-tools
	@$(call install,$(BENCH_PACKAGES))

# Redirection is tested in network namespaces.
.PHONY: test-tools
test-tools:
	@$(call install,nftables iproute2)

# Helm and promtool, unpacked into the cache: neither is a service here.
HELM := helm.sh/helm/v3/cmd/helm@v3.19.0

.PHONY: deploy-tools
deploy-tools:
	@mkdir -p $(CACHE)/bin
	[ -x $(CACHE)/bin/helm ] || GOBIN=$(CACHE)/bin go install $(HELM)
	if [ ! -x $(CACHE)/bin/promtool ]; then
	  unpacked=$$(mktemp -d)
	  trap 'rm -rf "$$unpacked"' EXIT
	  cd "$$unpacked"
	  apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }
	  dpkg -x prometheus_*.deb .
	  install usr/bin/promtool $(CACHE)/bin/
	fi

.PHONY: soak
soak: tools peer-tools ## a minute each of restarts, churn and changes under load; h2spec against Envoy
	SOAK_SECONDS=60 cargo test -p ironsail-sim no_lost_request
	CACHE=$(CACHE) cargo test -p ironsail-wire -- --ignored --nocapture

FUZZ_SECONDS ?= 60
# Names, or nothing for all.
FUZZ_TARGETS ?=
CORPUS := $(CACHE)/fuzz

.PHONY: fuzz
fuzz: tools ## every target for $$FUZZ_SECONDS (60) seconds; what is found is left in the cache
	@$(call install,g++)
	CARGO_INCREMENTAL=0 RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/e2e/fuzz/instrument.sh cargo build -q \
	  --config profile.dev.package.ironsail-proxy.opt-level=1 --workspace --bin fuzz --features ironsail-fuzz/engine
	fuzz=$(DEV)/fuzz
	targets="$(FUZZ_TARGETS)"
	for target in $${targets:-$$(FUZZ_TARGET=list $$fuzz)}; do
	  mkdir -p $(CORPUS)/$$target $(CORPUS)/found
	  echo "$$target"
	  FUZZ_TARGET=$$target FUZZ_SEEDS=$(CORPUS)/$$target $$fuzz $(CORPUS)/$$target \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
	    -artifact_prefix=$(CORPUS)/found/$$target- 2>&1 | grep -E '^(ERROR|SUMMARY|thread|stat::number_of|artifact|Done|==)' || true
	done
	if compgen -G "$(CORPUS)/found/*" >/dev/null; then ls $(CORPUS)/found; exit 1; fi

.PHONY: deploy-test
deploy-test: tools deploy-tools ## chart, kustomize base and monitoring, with helm, kubectl and promtool
	REQUIRE_TOOLS=1 cargo test --workspace --test deploy

.PHONY: manifests
manifests: tools ## write what below deploy is made from the operator
	cargo run -q -p ironsail-operator -- dump --write deploy

.PHONY: build
build: tools ## release builds of all programs
	cargo build --release $(PROGRAMS) $(if $(REPRODUCIBLE),$(NEUTRAL))

.PHONY: images
images: build ## image archives of all programs in the cache, and what is in them
	$(RELEASE)/images build --from $(RELEASE) --out $(IMAGES) --tag $(TAG)

.PHONY: node
node: node-tools ## build the one-node Kubernetes
	e2e/node/build.sh

.PHONY: crds
crds: tools ## write deploy/crds from the types
	cargo run -q -p ironsail-crds --bin crdgen deploy/crds

.PHONY: lint
lint: tools ## format and clippy, warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# With programs that building tests leaves, too: other features would mean building everything again.
define TEMPLATE_TEST
	cd e2e/template
	IRONSAIL_OPERATOR=$(DEV)/operator IRONSAIL_INJECT=$(DEV)/examples/inject GOWORK=off go test -count=1 ./...
endef

.PHONY: unit
unit: tools test-tools peer-tools ## unit, golden and simulation tests, and those beside programs of others
	CACHE=$(CACHE) cargo test --workspace
	$(TEMPLATE_TEST)

.PHONY: oracle
oracle: tools peer-tools ## the same calls to our proxy and to a stock Envoy (TOPICS=… for some)
	CACHE=$(CACHE) cargo run -q -p ironsail-oracle -- $(TOPICS)

.PHONY: template-test
template-test: tools ## templates for stock istiod, executed in Go
	cargo build -q --workspace --bin operator --example inject
	$(TEMPLATE_TEST)

.PHONY: e2e
e2e: images deploy-tools $(if $(KUBECONFIG),,node) ## tests on a real Kubernetes ($$KUBECONFIG, else the one-node cluster)
	. e2e/cluster.sh
	start_cluster
	use_cluster
	export PATH="$(RELEASE):$(CACHE)/bin:$$PATH" RUST_LIB_BACKTRACE=0
	cargo test --workspace --test e2e -- --test-threads=1 --nocapture

.PHONY: test
test: export REQUIRE_NETNS := 1
test: lint unit e2e deploy-test ## what continuous integration runs

.PHONY: bench
bench: tools bench-tools ## CPU, memory and times beside Envoy and nginx, in ratios of one run
	cargo build --profile dist -p ironsail-proxy -p ironsail-controlplane
	cargo build --release -p ironsail-bench
	missed=0
	$(RELEASE)/bench --agent $(DIST)/pilot-agent --envoy $(CACHE)/peers/envoy --nginx $(CACHE)/peers/nginx || missed=$$?
	$(RELEASE)/bench control-plane --discovery $(DIST)/pilot-discovery || missed=$$?
	exit $$missed

.PHONY: bench-growth
bench-growth: tools bench-tools ## growth of the control plane's costs, drawn into docs/
	cargo build --profile dist -p ironsail-controlplane
	cargo build --release -p ironsail-bench
	$(RELEASE)/bench control-plane --discovery $(DIST)/pilot-discovery --growth docs/control-plane-growth.svg

.PHONY: demo
demo: ## a mesh with Bookinfo on a real Kubernetes, from nothing
	@deploy/demo.sh up

.PHONY: demo-upgrade
demo-upgrade: ## move the demo to another revision under load
	@deploy/demo.sh upgrade

.PHONY: demo-down
demo-down: ## remove what the demo made
	@deploy/demo.sh down

.PHONY: print-tag
print-tag:
	@echo $(TAG)
