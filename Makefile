# Everything a contributor runs, one target each. `make` alone lists them.
# Needed: Go, git, make, curl and openssl. What else a target uses is built from
# pinned Go modules: tools into bin/tools, the test bed into the user's cache.

SHELL := bash -euo pipefail
.DEFAULT_GOAL := help

IMAGE ?= ghcr.io/jovalle/usher
VERSION ?= $(shell hack/version)
LDFLAGS := -s -w -X main.version=$(VERSION)

# Programs of usher and of the test bed are built with the same flags, so that one build cache serves
# all. A compiler is short-lived: with this GOGC it collects less often.
BUILD := GOGC=400 CGO_ENABLED=0 go build -trimpath -ldflags='$(LDFLAGS)'
RUN := CGO_ENABLED=0 go run -trimpath
FUZZ_INPUTS ?= 5000

# The race detector needs cgo, which Go turns off where it finds no C compiler. It lets each program wait
# for a second before it ends, unless GORACE has another time.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
# `make lint` vets the code.
TEST_FLAGS := -trimpath $(RACE) -ldflags='-s -w' -vet=off
# A test waits for much of its time, so two packages a processor run side by side. Those that take minutes
# start first.
SIDE_BY_SIDE ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
SLOW := ./controllers ./hack/test/node ./hack/test/e2e ./controllers/enroll ./hack/test/... ./cmd/usher

TOOLS := bin/tools
TESTBED := $(RUN) ./hack/testbed/cmd/testbed

##@ Try

.PHONY: try
try: ## Show usher's proxy alone, with two small TLS sites and curl: two minutes (TRY=once: then stop)
	@test -e bin/try || echo 'building bin/try: the first time from nothing about 2 min on two cores' >&2
	@$(BUILD) -o bin/try ./hack/try
	@bin/try $(if $(filter once,$(TRY)),--once)

.PHONY: demo
demo: $(if $(filter standalone,$(EDGE)),build,usher-nostandalone) ## Bring up two clusters, an edge and usher, and show it working (DEMO=once: then stop; EDGE=standalone: without Kubernetes at the edge)
	@$(TESTBED) build etcd kube-apiserver kubectl traefik traefik-crds.yaml
	@$(BUILD) -o bin/demo ./hack/demo
	@bin/demo $(if $(filter once,$(DEMO)),--once) $(if $(EDGE),--edge=$(EDGE))

.PHONY: build
build: ## Build bin/usher
	@test -e bin/usher || echo 'building bin/usher: the first time from nothing about 7 min on two cores' >&2
	@$(BUILD) -o bin/usher ./cmd/usher

# The program without the API server of a standalone edge: it takes less time to build.
.PHONY: usher-nostandalone
usher-nostandalone:
	@test -e bin/usher-nostandalone || echo 'building usher: the first time from nothing about 5 min on two cores' >&2
	@$(BUILD) -tags nostandalone -o bin/usher-nostandalone ./cmd/usher

##@ Check

.PHONY: test
test: testbed $(TOOLS)/gotestsum ## Run all tests, against real API servers and Traefik
	$(if $(RACE),,@echo 'NO RACE DETECTOR: it needs cgo and a C compiler, and go finds none' >&2)
	@GORACE=atexit_sleep_ms=0 $(TOOLS)/gotestsum --format=pkgname --format-hide-empty-pkg -- $(TEST_FLAGS) -p $(SIDE_BY_SIDE) -timeout=45m $(SLOW) ./...

.PHONY: fuzz
fuzz: ## Run each fuzz target with FUZZ_INPUTS inputs
	@hack/fuzz $(FUZZ_INPUTS)

.PHONY: simulation
simulation: testbed ## Drive random honest and hostile members through the reconcilers (ROUNDS=100, SEED=0: a random one)
	@go test $(TEST_FLAGS) -timeout=1h ./controllers -run 'TestSimulation$$' -v -args -sim.rounds=$(or $(ROUNDS),100) -sim.seed=$(or $(SEED),0)

.PHONY: lint
lint: lint-go lint-platforms lint-generated lint-chart lint-workflows ## Check the Go code, the generated files, the chart and the workflows

.PHONY: lint-go
lint-go: $(TOOLS)/golangci-lint
	@CGO_ENABLED=0 GOFLAGS=-trimpath $(TOOLS)/golangci-lint run

.PHONY: lint-platforms
lint-platforms: # those that a release has a program for, except this one
	@$(RUN) ./hack/typecheck linux/arm linux/arm64 darwin/amd64 darwin/arm64 windows/amd64

.PHONY: lint-generated
lint-generated: $(TOOLS)/controller-gen $(TOOLS)/crd-ref-docs $(TOOLS)/helm-docs
	@$(TESTBED) build helm
	@hack/verify-generated "$$($(TESTBED) path helm)"

.PHONY: lint-chart
lint-chart:
	@$(TESTBED) build helm
	@hack/lint-chart "$$($(TESTBED) path helm)"

.PHONY: lint-workflows
lint-workflows: $(TOOLS)/actionlint
	@$(TOOLS)/actionlint -shellcheck= -pyflakes=

.PHONY: bench
bench: build ## Measure usher beside other proxies, into dist/bench (half an hour; BENCH=quick: minutes)
	@$(TESTBED) build traefik
	@$(RUN) ./hack/bench -traefik "$$($(TESTBED) path traefik)" $(if $(filter quick,$(BENCH)),-quick)

.PHONY: bench-memory
bench-memory: testbed ## Measure the memory that 20,000 Ingresses take (5 minutes)
	@$(RUN) ./hack/bench/memory

.PHONY: bench-speed
bench-speed: testbed build ## Measure how fast usher follows its members, with 1,000 and 10,000 hosts (10 minutes)
	@$(RUN) ./hack/bench/speed

.PHONY: bench-peers
bench-peers: ## Install the proxies that bench compares, from Debian (needs root)
	@apt-get install --yes --no-install-recommends haproxy nginx-light libnginx-mod-stream sniproxy

##@ Make

.PHONY: generate
generate: $(TOOLS)/controller-gen $(TOOLS)/crd-ref-docs $(TOOLS)/helm-docs ## Write deepcopy code, CRDs, RBAC, the chart's README and config/manager
	@$(TESTBED) build helm
	@hack/generate "$$($(TESTBED) path helm)"

.PHONY: testbed
testbed: ## Build the test bed's servers into the cache (20 minutes from nothing)
	@$(TESTBED) build

.PHONY: node-tools
node-tools: testbed ## Install what tests on a real node need, from Debian, and build its servers (needs root)
	@apt-get update --quiet
	@apt-get install --quiet --yes --no-install-recommends buildah containerd containernetworking-plugins iproute2 iptables libcap2-bin nftables runc
	@$(TESTBED) build kubelet kube-scheduler kube-proxy

.PHONY: browser
browser: ## Install Chromium from Debian, which tests in a browser need (needs root)
	@command -v chromium >/dev/null || { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends chromium; }

.PHONY: name-server
name-server: ## Install BIND from Debian and build external-dns, which tests of DNS records need (needs root)
	@command -v named >/dev/null || { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends bind9 bind9-utils; }
	@$(TESTBED) build external-dns

.PHONY: image
image: ## Build the container image for amd64 and arm64 into dist/ (needs root, buildah and setcap)
	@IMAGE='$(IMAGE)' VERSION='$(VERSION)' LDFLAGS='$(LDFLAGS)' hack/image

.PHONY: release
release: $(TOOLS)/cyclonedx-gomod $(TOOLS)/nfpm $(TOOLS)/crane image ## Make all files of a release in dist/release, and rehearse publishing them (publishes nothing)
	@$(TESTBED) build helm
	@$(RUN) ./hack/release -version='$(VERSION)' -image='$(IMAGE)' -image-archive='dist/usher-$(VERSION).oci.tar' -ldflags='$(LDFLAGS)' \
		-helm="$$($(TESTBED) path helm)" -cyclonedx=$(TOOLS)/cyclonedx-gomod -nfpm=$(TOOLS)/nfpm
	@hack/rehearse "$$($(TESTBED) path helm)"

.PHONY: clean
clean: ## Remove what the other targets made here; the user's caches stay
	@rm -rf bin dist

.PHONY: help
help:
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { print "\n" substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(TOOLS)/%: hack/tools/%/go.mod
	@echo 'building $* (the first time from nothing, golangci-lint takes minutes)' >&2
	@nice go build -C hack/tools/$* -trimpath -o '$(CURDIR)/$@' tool
	@touch $@
