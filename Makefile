# `make` lists what there is. What takes more than a line is in test/ci (the
# checks) and test/components (the real programs that tests run against).

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION ?= $(shell git describe --match= --always --abbrev=40 --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 60s
BENCH    ?= .
COUNT    ?= 1
PKG      ?= ./...
ARGS     ?=

# Version and revision are stamped below; the go command's own stamping fails in
# a tree that belongs to another user.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

CI         := go run ./test/ci
COMPONENTS := go run ./test/components/cmd/components
CONFORMS   := go test -count=1 -v ./proxy/http ./test/conformance
BENCHMARK  := bin/benchmark -hallmark bin/hallmark -revision '$(VERSION)' -out bin/bench

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## Build bin/hallmark
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w -X main.version=$(VERSION) -X main.revision=$(REVISION)' -o bin/hallmark ./cmd/hallmark

.PHONY: demo
demo: build ## See it work: four workloads, their sidecars, who called whom (ARGS=--once to end by itself)
	@bin/hallmark demo $(ARGS)

.PHONY: test
test: ## Run every check that a change has to pass (installs and builds what it needs)
	@$(CI) test

.PHONY: test-long
test-long: components ## Run the soak, the huge and the ten-minute tests
	@mkdir -p bin
	@$(CI) test-long | tee "bin/test-long-$$(date -u +%Y%m%dT%H%M%SZ).txt"

.PHONY: lint
lint: tools ## Check the format, go vet, the linters, the direction of imports
	@$(CI) lint
	@$(CI) imports

.PHONY: fmt
fmt: tools ## Format the code
	@"$$($(COMPONENTS) -path gofumpt)" -l -w .

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (60s) each
	@$(CI) -fuzztime=$(FUZZTIME) fuzz

.PHONY: vuln
vuln: tools ## Look for known vulnerabilities
	@$(CI) vuln

.PHONY: bench
bench: build benchmarked ## Measure against other proxies, side by side, for an hour or two (ARGS='-workloads tcp-echo'), into bin/bench
	@$(BENCHMARK) $(ARGS)

.PHONY: bench-quick
bench-quick: build benchmarked ## The same in minutes: what the bars compare, and a look at the rest
	@$(BENCHMARK) -quick $(ARGS)

.PHONY: bench-docs
bench-docs: ## Put the tables of the last bench or bench-quick into docs/performance.md
	@go run ./test/bench -from bin/bench/report.json -into docs/performance.md

.PHONY: profile
profile: build benchmarked ## CPU and allocation profiles of both proxies under the standard loads, into bin/profile (ARGS='-workloads connect')
	@bin/benchmark -hallmark bin/hallmark -profile -out bin/profile $(ARGS)

.PHONY: pgo
pgo: build benchmarked ## After profile: does a build that is guided by it cost less? In turn with the usual one
	@CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -pgo=bin/profile/merged.pprof -o bin/hallmark-pgo ./cmd/hallmark
	@bin/benchmark -hallmark bin/hallmark-pgo -baseline bin/hallmark -contenders hallmark,hallmark-baseline -rounds 20 -measure 2s -workloads http1-64B,tcp-echo,connect $(ARGS)

.PHONY: bench-micro
bench-micro: tools ## Run Go benchmarks (BENCH=regexp COUNT=n PKG=packages), results in bin/bench.txt
	@mkdir -p bin
	go test -run='^$$' -bench='$(BENCH)' -benchmem -count=$(COUNT) -timeout=2h $(PKG) | tee bin/bench.txt
	@"$$($(COMPONENTS) -path benchstat)" bin/bench.txt

.PHONY: benchmarked
benchmarked:
	@$(COMPONENTS) -bench
	@go build -o bin/benchmark ./test/bench

.PHONY: h2spec
h2spec: ## Run h2spec, --strict too, against the HTTP engine and both ends of a pair, and print its counts
	@$(CONFORMS) -run='^TestH2spec' | grep -E '^(---|    ---|ok|FAIL)|^ .* tests, '

.PHONY: grpc-interop
grpc-interop: ## Run grpc-go's interop client and server through the HTTP engine and a pair, and print each case
	@$(CONFORMS) -run='^TestGRPCInterop' | grep -E '^(---|    ---|ok|FAIL)'

.PHONY: components
components: ## Install and build the real programs that tests run against (cached)
	@$(COMPONENTS)

.PHONY: tools
tools: ## Build the tools that check the code (cached)
	@$(COMPONENTS) -tools

.PHONY: clean
clean: ## Remove what was built here (the cache of components stays)
	rm -rf bin
