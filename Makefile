# Holt. `make help` lists the targets.
#
# Works as root on Debian 12 with Go, Node, make and git; `make deps` installs
# the rest. Everything costly is kept in HOLT_CACHE, named by what it was made of.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

HOLT_CACHE  ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holt
HOLT_DATA   ?= ./data
HOLT_LISTEN ?= 127.0.0.1:7070
export HOLT_CACHE

# One test binary per core at most: they start real machines.
TEST_PARALLEL ?= 2
TEST_TIMEOUT  ?= 40m
PKG           ?= ./...
ROUNDS        ?= 15

# Packages that fill the machine by themselves are tested one after the other.
HEAVY = ./test/|./sandbox/gvisor|./bench|./ydoc/difftest

GOLANGCI_VERSION := v2.15.0
GOLANGCI         := $(HOLT_CACHE)/tools/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint

RUNSC_VERSION = $(shell awk '$$1=="gvisor.dev/gvisor"{print $$2}' go.mod)
RUNSC_SOURCES = $(wildcard cmd/runsc/*.go)
RUNSC_CACHED  = $(HOLT_CACHE)/runsc/$(RUNSC_VERSION)-$(shell go env GOVERSION GOARCH | paste -sd-)-$(shell cat $(RUNSC_SOURCES) | sha256sum | cut -c1-12)/runsc

VERSITYGW_VERSION = $(shell awk '$$1=="github.com/versity/versitygw"{print $$2}' test/versitygw/go.mod)
VERSITYGW_CACHED  = $(HOLT_CACHE)/tools/versitygw-$(VERSITYGW_VERSION)-$(shell go env GOVERSION GOARCH | paste -sd-)/versitygw
GOBUILD  := CGO_ENABLED=0 go build -trimpath

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: deps build image ## build everything and start holtd here; prints the address and a first-login link
	exec bin/holtd --data-dir '$(HOLT_DATA)' --listen '$(HOLT_LISTEN)'

.PHONY: deps
deps: ## install what is missing on this machine (apt-get, as root)
	@scripts/deps

.PHONY: deps-test
deps-test: ## what the tests need beside that: PostgreSQL, a browser, Yjs and an identity provider
	@scripts/deps test
	@scripts/npm-cache ydoc/difftest >/dev/null
	@scripts/npm-cache test/oidc >/dev/null

.PHONY: build
build: web-build bin/runsc ## bin/holtd bin/holt bin/holt-guest bin/runsc and the web files
	$(GOBUILD) -o bin/ ./cmd/holtd ./cmd/holt
	$(GOBUILD) -ldflags='-s -w' -o bin/ ./cmd/holt-guest

# gVisor costs minutes of CPU: built once for each version.
bin/runsc: go.mod $(RUNSC_SOURCES)
	@if [ ! -x '$(RUNSC_CACHED)' ]; then \
	  echo 'building runsc $(RUNSC_VERSION), once (about two minutes of CPU)'; \
	  mkdir -p '$(dir $(RUNSC_CACHED))'; \
	  $(GOBUILD) -ldflags='-s -w' -o '$(RUNSC_CACHED).new' ./cmd/runsc; \
	  mv '$(RUNSC_CACHED).new' '$(RUNSC_CACHED)'; \
	fi
	@mkdir -p bin
	install -m 0755 '$(RUNSC_CACHED)' $@.new
	mv $@.new $@

# The S3 server of the tests has a module of its own, so that nothing of it is in ours.
bin/versitygw: test/versitygw/go.mod
	@if [ ! -x '$(VERSITYGW_CACHED)' ]; then \
	  echo 'building versitygw $(VERSITYGW_VERSION), once (about two minutes of CPU)'; \
	  mkdir -p '$(dir $(VERSITYGW_CACHED))'; \
	  (cd test/versitygw && $(GOBUILD) -ldflags='-s -w' -o '$(VERSITYGW_CACHED).new' github.com/versity/versitygw/cmd/versitygw); \
	  mv '$(VERSITYGW_CACHED).new' '$(VERSITYGW_CACHED)'; \
	fi
	@mkdir -p bin
	install -m 0755 '$(VERSITYGW_CACHED)' $@.new
	mv $@.new $@

.PHONY: web-build
web-build:
	@if [ -f web/package.json ]; then scripts/web-build; fi

.PHONY: image
image: deps ## build the default image into the cache, unless it is there
	@go run ./scripts/mkimage default tiny

.PHONY: test
test: deps-test build bin/versitygw image check ## install what is missing, then run every test, with the race detector
	@light=$$(go list -f '{{.Dir}}' $(PKG) | sed 's#^$(CURDIR)#.#' | grep -v -E '^($(HEAVY))' || true); \
	heavy=$$(go list -f '{{.Dir}}' $(PKG) | sed 's#^$(CURDIR)#.#' | grep -E '^($(HEAVY))' || true); \
	if [ -n "$$light" ]; then echo 'go test -race (light packages)'; \
	  go test -race -p $(TEST_PARALLEL) -timeout $(TEST_TIMEOUT) $$light || { \
	    echo 'second and last try of what failed'; go test -race -p 1 -timeout $(TEST_TIMEOUT) $$light; }; fi; \
	if [ -n "$$heavy" ]; then echo 'go test -race (heavy packages)'; fi; \
	for pkg in $$heavy; do \
	  go test -race -count=1 -timeout $(TEST_TIMEOUT) $$pkg && continue; \
	  echo "second and last try of $$pkg: it measures a machine that others may share"; \
	  go test -race -count=1 -timeout $(TEST_TIMEOUT) $$pkg; \
	done
	@if [ -f web/package.json ]; then npm --prefix web test; fi

.PHONY: test-slow
test-slow: deps-test build bin/versitygw image ## the long tests too: hundreds of cycles, faults at random points
	HOLT_SLOW=1 go test -race -p 1 -timeout 120m $(PKG)

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (default 20s); FUZZ_SECONDS=600: compare ydoc with Yjs that long
	@if [ -n '$(FUZZ_SECONDS)' ]; then \
	  HOLT_FUZZ_SECONDS='$(FUZZ_SECONDS)' go test -count=1 -v -timeout 0 -run '^TestDifferential$$' ./ydoc/difftest; exit; fi; \
	for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r -n1 dirname | sort -u); do \
	  for f in $$(grep -rhoE '^func Fuzz[A-Za-z0-9_]+' $$pkg/*_test.go | cut -d' ' -f2); do \
	    echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $${FUZZTIME:-20s} -fuzzminimizetime 20x $$pkg; \
	  done; done

.PHONY: bench
bench: deps build bin/versitygw image ## measure starts, suspends, resumes, forks and terminals; prints p50 and p99 (ROUNDS=15)
	HOLT_BENCH=$(ROUNDS) go test -count=1 -timeout 60m -v -run '^(TestBench(Store|Persist)?|TestSimulatedFleet)$$' ./bench

.PHONY: bench-ydoc
bench-ydoc: ## measure shared documents beside Yjs and its servers; HOLT_TRACES: directory of editing traces
	HOLT_BENCH=1 go test -count=1 -timeout 60m -v -run '^TestBench(Ydoc|Collab|Journal)$$' ./bench

.PHONY: check
check: fmt-check vet lint ## format, vet and lint, without running tests

.PHONY: vet
vet:
	go vet ./...

.PHONY: fmt-check
fmt-check:
	@bad=$$(git ls-files -co --exclude-standard '*.go' | while read -r f; do [ ! -f "$$f" ] || echo "$$f"; done | xargs -r gofmt -l); \
	if [ -n "$$bad" ]; then echo "not gofmt-ed (run make fmt):"; echo "$$bad"; exit 1; fi

.PHONY: lint
lint: $(GOLANGCI) ## golangci-lint with the import rules of ARCHITECTURE.md
	$(GOLANGCI) run ./...

$(GOLANGCI):
	@echo 'building golangci-lint $(GOLANGCI_VERSION), once'
	@GOFLAGS= GOBIN='$(dir $(GOLANGCI))' go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

.PHONY: fmt
fmt: ## gofmt every Go file
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')

.PHONY: clean
clean: ## remove what was built here (keeps the cache and ./data)
	rm -rf bin
	find web/dist -mindepth 1 ! -name .gitkeep -delete 2>/dev/null || true
