# make         builds bin/relay; for those who build for it: TAGS=openssl (a faster RSA; gcc, pkg-config, libssl-dev), GOAMD64=v3
# make test    all that must be green: format, vet, staticcheck, every test with the race detector, a short fuzz
# make interop among real servers, in namespaces of its own; as root, on Debian (installs mmdebstrap, iproute2)
# make torture overload, kill -9 and power loss, half an hour or more; as root, on Debian (installs xfsprogs, btrfs-progs, qemu)
# make bench   how fast it is, beside Postfix on this machine; half an hour, as root, on Debian; writes docs/benchmarks.md
# make profile makes cmd/relay/default.pgo anew, by which the compiler knows what is worth inlining; as make bench, a few minutes
# make fuzz    every fuzz target for FUZZTIME executions (5000x; a time such as 1m works too)

STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 5000x
TORTURE ?= -kill-rounds 1000 -ext4-cycles 1000 -xfs-cycles 300 -recover-from 100000 -backlog 100000 -large-whole 40
OVERLOAD = TestNoRoom|TestCrowdFillsDisk|TestLogFillsItsDisk|TestFewFiles|TestSlowDisk|TestLargeMessages|TestBacklog|TestKillInRecovery

.PHONY: build test lint fuzz interop torture bench profile demo clean need-go need-cc need-debian need-guest

build: need-go
	CGO_ENABLED=$(if $(findstring openssl,$(TAGS)),1,0) go build -trimpath -tags "$(TAGS)" -ldflags "-s -w" -o bin/relay ./cmd/relay

test: need-go need-cc lint
	go test -race -shuffle=on -timeout 10m ./...
	go test -tags mutants -run '^TestMutants$$' ./queue/disk
	@if pkg-config --exists libcrypto 2>/dev/null; then set -x; go vet -tags openssl ./relay/sign && go test -race -tags openssl ./relay/sign; \
		else echo "not tested: TAGS=openssl, for want of pkg-config and libssl-dev"; fi
	$(MAKE) --no-print-directory fuzz

lint: need-go
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt -w wants: $$out"; exit 1; fi
	go vet -tags interop ./...
	go vet -tags torture,mutants ./cmd/relay ./queue/disk
	go run $(STATICCHECK) -tags interop ./...
	go run $(STATICCHECK) -tags torture,mutants ./cmd/relay ./queue/disk
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
	cd cmd/interop && ../../bin/interop.test -test.timeout 7m -test.parallel 6

# In namespaces of its own, so that no mount, loop device or process is left, however it ends.
ALONE = TMPDIR=$(CURDIR)/bin/tmp unshare --mount --net --pid --mount-proc --fork --kill-child \
	sh -c 'ip link set lo up && cd cmd/relay && exec "$$@"' alone

# For TestClockJumps, on a PC: a machine whose clock may be set.
torture: need-go need-debian $(if $(filter x86_64,$(shell uname -m)),need-guest)
	go test -c -tags torture,mutants -o bin/mutants.test ./cmd/relay
	CGO_ENABLED=0 go test -c -tags torture -o bin/torture.test ./cmd/relay
	go test -tags mutants -run '^TestMutants$$' -v ./queue/disk
	rm -rf bin/tmp && mkdir bin/tmp
	$(ALONE) ../../bin/mutants.test -test.v -test.timeout 30m -test.run '^TestMutants$$'
	$(ALONE) ../../bin/torture.test -test.v -test.timeout 20m -test.run '^($(OVERLOAD))$$' $(TORTURE)
	$(ALONE) ../../bin/torture.test -test.v -test.timeout 3h -test.run '^(TestReadOnly|TestNoSpace|TestClockJumps|TestKill|TestPower)$$' -senders 16 $(TORTURE)
	rm -rf bin/tmp

bench: need-go need-debian
	go run ./cmd/relay-bench $(BENCHFLAGS)

profile: need-go need-debian
	rm -rf bin/profile && mkdir -p bin/profile
	go run ./cmd/relay-bench -workloads W1,W2,W5,W8 -only relay -rounds 2 -profile bin/profile
	go tool pprof -proto bin/profile/*.pprof > cmd/relay/default.pgo
	rm -r bin/profile

demo: need-go
	go run ./cmd/demo

clean:
	rm -rf bin

need-go:
	@command -v go >/dev/null || { echo "go 1.26 or newer is needed: https://go.dev/dl/"; exit 1; }

need-cc:
	@command -v $${CC:-cc} >/dev/null || command -v gcc >/dev/null || { echo "the race detector needs a C compiler: apt-get install gcc libc6-dev"; exit 1; }

need-debian:
	@[ "$$(id -u)" = 0 ] || { echo "namespaces, private roots and mounts need root: run it with sudo"; exit 1; }
	@command -v apt-get >/dev/null || { echo "the servers are Debian's packages: run it on Debian, or in a container of it that may make namespaces"; exit 1; }
	@command -v mmdebstrap >/dev/null && command -v ip >/dev/null && command -v nsenter >/dev/null && command -v mkfs.ext4 >/dev/null && command -v mkfs.xfs >/dev/null && command -v mkfs.btrfs >/dev/null || \
		{ apt-get update -q && apt-get install -q -y --no-install-recommends mmdebstrap iproute2 util-linux e2fsprogs xfsprogs btrfs-progs; }

need-guest: need-debian bin/vmlinuz
	@command -v qemu-system-x86_64 >/dev/null || { apt-get update -q && apt-get install -q -y --no-install-recommends qemu-system-x86; }

# Debian's kernel, not installed: only unpacked.
bin/vmlinuz: | need-debian
	rm -rf bin/kernel && mkdir -p bin/kernel
	apt-get update -q
	cd bin/kernel && apt-get download -q $$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p') && dpkg -x *.deb .
	mv bin/kernel/boot/vmlinuz-* $@
	rm -r bin/kernel
