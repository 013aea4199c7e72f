# make test is what the CI runs, see .ci/run. It needs Go and make; the rest it
# installs where it can (Debian, as root or with sudo), else tests that miss a
# tool are skipped. With CI=true nothing may be missing.

STATICCHECK := v0.8.2
GOVULNCHECK := v1.9.0
VERSITYGW := v1.7.0
PEBBLE := v2.10.1
WEBTORRENT := 2.8.5
AXE := 4.14.1
MINIO := v0.0.0-20250907161309-07c3a429bfed

# The tools are built by the Go that they check, so each Go has its own.
TOOLS := $(CURDIR)/.tools/$(shell go env GOVERSION)

ifeq ($(CI),true)
export DROPSEED_REQUIRE_ALL := 1
endif

.DEFAULT_GOAL := help
.PHONY: help build test test-minio test-short lint vuln bench screenshots tools debian clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

build: ## build ./dropseed
	CGO_ENABLED=0 go build -trimpath -o dropseed ./cmd/dropseed

test: tools lint vuln ## everything: tools, lint, vuln, all tests with the race detector
	@race=-race; if ! command -v gcc >/dev/null; then race=; echo "NO RACE DETECTOR: it needs a C compiler."; fi; \
	echo go test $$race -timeout 20m ./...; go test $$race -timeout 20m ./...

test-minio: $(TOOLS)/minio@$(MINIO) ## the tests that need MinIO, which takes minutes to build
	DROPSEED_REQUIRE_ALL=1 go test -tags minio -run MinIO -v ./watcher/bucket ./cmd/dropseed

test-short: ## the quick tests, without installing anything
	go test -short ./...

lint: $(TOOLS)/staticcheck@$(STATICCHECK) ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "gofmt has not been run on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	$< ./...

# Only an unreachable database is excused: there is none on closed networks.
vuln: $(TOOLS)/govulncheck@$(GOVULNCHECK) ## govulncheck, if its database can be reached
	@echo govulncheck ./...; out=$$($< ./... 2>&1); rc=$$?; echo "$$out"; \
	if [ $$rc -ne 0 ] && echo "$$out" | grep -q '^govulncheck: fetching vulnerabilities: '; then \
		echo "NOT CHECKED for known vulnerabilities: the database cannot be reached from here."; exit 0; \
	fi; exit $$rc

bench: tools ## all benchmarks, beside their rivals where installed
	go test -run '^$$' -bench . -benchmem -timeout 60m ./...

# The test that draws them has a build tag, so that make test does not run it.
screenshots: tools ## the pictures in deploy/screenshots, of a real swarm in a real browser
	DROPSEED_REQUIRE_ALL=1 go test -tags screenshots -count=1 -run '^TestScreenshots$$' -v ./cmd/dropseed

tools: debian $(TOOLS)/versitygw@$(VERSITYGW) $(TOOLS)/pebble@$(PEBBLE) .tools/axe-core@$(AXE) .tools/webtorrent@$(WEBTORRENT) ## install the programs that the tests use

debian:
	@.ci/tools
	@.ci/promtool $(TOOLS)/promtool@debian

clean: ## remove what make built
	rm -rf dropseed .tools

$(TOOLS)/staticcheck@$(STATICCHECK):
	GOBIN=$(TOOLS) go install honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK)
	@mv $(TOOLS)/staticcheck $@

$(TOOLS)/govulncheck@$(GOVULNCHECK):
	GOBIN=$(TOOLS) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK)
	@mv $(TOOLS)/govulncheck $@

# An S3 server, for the tests of watcher/bucket.
$(TOOLS)/versitygw@$(VERSITYGW):
	CGO_ENABLED=0 GOBIN=$(TOOLS) go install -trimpath -ldflags='-s -w' github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW)
	@mv $(TOOLS)/versitygw $@

# An authority that gives out certificates (ACME), for the tests of cmd/dropseed.
$(TOOLS)/pebble@$(PEBBLE):
	CGO_ENABLED=0 GOBIN=$(TOOLS) go install -trimpath -ldflags='-s -w' github.com/letsencrypt/pebble/v2/cmd/pebble@$(PEBBLE)
	@mv $(TOOLS)/pebble $@

# The checks of accessibility that the browser runs. It is data, so one serves all Gos.
# A BitTorrent client for browsers; its package holds far more than the one file.
.tools/webtorrent@$(WEBTORRENT): | debian
	@if ! command -v npm >/dev/null; then echo "NOT INSTALLED for want of npm: webtorrent"; [ "$(CI)" != true ]; exit; fi; \
	mkdir -p .tools/npm-webtorrent && cd .tools/npm-webtorrent && npm pack --silent webtorrent@$(WEBTORRENT) >/dev/null && \
	tar xzf webtorrent-$(WEBTORRENT).tgz package/dist/webtorrent.min.js && \
	mv package/dist/webtorrent.min.js ../webtorrent@$(WEBTORRENT) && cd ../.. && rm -rf .tools/npm-webtorrent

.tools/axe-core@$(AXE): | debian
	@if ! command -v npm >/dev/null; then echo "NOT INSTALLED for want of npm: axe-core"; [ "$(CI)" != true ]; exit; fi; \
	npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix .tools/npm axe-core@$(AXE) && \
	mv .tools/npm/node_modules/axe-core/axe.min.js $@ && rm -rf .tools/npm

# The other S3 server: the one that can be listened to.
$(TOOLS)/minio@$(MINIO):
	CGO_ENABLED=0 GOBIN=$(TOOLS) go install -trimpath -ldflags='-s -w' github.com/minio/minio@$(MINIO)
	@mv $(TOOLS)/minio $@
