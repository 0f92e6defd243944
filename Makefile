# make         builds bin/relay
# make test    all that must be green: format, vet, staticcheck, every test with the race detector, a short fuzz
# make interop among real servers, in namespaces of its own; as root, on Debian (installs mmdebstrap, iproute2)
# make bench   how fast it is, beside Postfix on this machine; half an hour, as root, on Debian; writes docs/benchmarks.md
# make fuzz    every fuzz target for FUZZTIME executions (5000x; a time such as 1m works too)

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 5000x

.PHONY: build test lint fuzz interop bench demo clean need-go need-cc need-debian

build: need-go
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/relay ./cmd/relay

test: need-go need-cc lint
	go test -race -shuffle=on -timeout 10m ./...
	$(MAKE) --no-print-directory fuzz

lint: need-go
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt -w wants: $$out"; exit 1; fi
	go vet -tags interop ./...
	go run $(STATICCHECK) -tags interop ./...
	go mod tidy -diff

fuzz: need-go
	@go list -f '{{.Dir}} {{join .TestGoFiles " "}} {{join .XTestGoFiles " "}}' ./... | while read -r dir files; do \
		for f in $$files; do \
			sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$dir/$$f" | while read -r target; do \
				echo "$$dir $$target"; \
				(cd "$$dir" && go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x .) || exit 1; \
			done || exit 1; \
		done || exit 1; \
	done

interop: need-go need-debian
	go test -c -tags interop -o bin/interop.test ./cmd/interop
	cd cmd/interop && ../../bin/interop.test -test.timeout 5m -test.parallel 6

bench: need-go need-debian
	go run ./cmd/relay-bench $(BENCHFLAGS)

demo: need-go
	go run ./cmd/demo

clean:
	rm -rf bin

need-go:
	@command -v go >/dev/null || { echo "go 1.26 or newer is needed: https://go.dev/dl/"; exit 1; }

need-cc:
	@command -v $${CC:-cc} >/dev/null || command -v gcc >/dev/null || { echo "the race detector needs a C compiler: apt-get install gcc libc6-dev"; exit 1; }

need-debian:
	@[ "$$(id -u)" = 0 ] || { echo "namespaces and private roots need root: try again with sudo"; exit 1; }
	@command -v apt-get >/dev/null || { echo "the servers are Debian's packages: run it on Debian, or in a container of it that may make namespaces"; exit 1; }
	@command -v mmdebstrap >/dev/null && command -v ip >/dev/null && command -v nsenter >/dev/null || \
		{ apt-get update -q && apt-get install -q -y --no-install-recommends mmdebstrap iproute2 util-linux; }
