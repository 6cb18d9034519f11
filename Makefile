# Everything a contributor and the continuous integration run. `make help` lists the targets.
#
# SEEDS (how many) and SEED (the first) reach the simulators as LOCKD_SEEDS and LOCKD_SEED.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export GOTOOLCHAIN := local
export GOFLAGS     := $(strip $(filter-out -mod=%,$(GOFLAGS)) -mod=readonly)
export CGO_ENABLED ?= 1

GO       ?= go
LINT     := bin/golangci-lint
FUZZTIME ?= 100000x
PART     ?= 0/1
TIMEOUT  ?= 10m

# Packages with code that a client imports: they build everywhere.
CLIENT := ./client/...
# Modules of their own, with dependencies that the main module must not have.
MODULES := $(patsubst %/go.mod,%,$(filter-out tools/go.mod,$(wildcard */go.mod)))

# seeds hands SEEDS and SEED to the tests; without them, or with $(1), each test takes its own number.
seeds = $(if $(or $(SEEDS),$(1)),LOCKD_SEEDS=$(or $(SEEDS),$(1))) $(if $(SEED),LOCKD_SEED=$(SEED))

# must-match fails when no test of package $(2) matches the pattern $(1), which `go test -run` would take for a success.
must-match = names=$$($(GO) test -list '$(1)' $(2)) || { echo "$$names"; exit 1; }; \
	grep -qE '^(Test|Fuzz)' <<<"$$names" || { echo "no test matches '$(1)' in $(2)"; exit 1; }

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-14s %s\n", $$1, $$2 }'

## Style and rules.

.PHONY: check
check: format vet lint tidy rules portable ## format, vet, lint, go.mod and the house rules

.PHONY: format
format: $(LINT) # what is not formatted is printed; `make fix` mends it
	$(LINT) fmt --diff

.PHONY: fix
fix: $(LINT) ## format the source, and apply what the linters can mend
	$(LINT) fmt
	$(LINT) run --fix ./...

.PHONY: vet
vet:
	$(GO) vet ./...
	for m in $(MODULES); do (cd $$m && $(GO) vet ./...); done

.PHONY: lint
lint: $(LINT)
	$(LINT) config verify
	$(LINT) run --allow-serial-runners ./...
	for m in $(MODULES); do (cd $$m && ../$(LINT) run --allow-serial-runners ./...); done

.PHONY: tidy
tidy:
	$(GO) mod tidy -diff
	for m in $(MODULES); do (cd $$m && $(GO) mod tidy -diff); done
	$(GO) mod verify

.PHONY: rules
rules: # the house rules, and tables of mutants that still fit the source
	$(GO) test -count=1 ./internal/lint/ ./internal/mutants/
	$(GO) run ./internal/mutants -list >/dev/null

.PHONY: portable
portable:
	for os in darwin windows; do CGO_ENABLED=0 GOOS=$$os $(GO) vet $(CLIENT); done

# The linter is pinned by tools/go.mod and built from source: no download of a binary, no version of somebody's machine.
.PHONY: tools
tools: $(LINT) ## build the pinned tools into bin/
$(LINT): tools/go.mod tools/go.sum
	$(GO) build -modfile=tools/go.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: build
build: ## compile everything, the tests included
	$(GO) build ./...
	$(GO) test -run '^$$' ./... >/dev/null

## Tests.

.PHONY: test
test: ## all tests
	$(call seeds) $(GO) test -shuffle=on -timeout=$(TIMEOUT) ./...

# One processor for each test: in Go 1.25 and 1.26 all timers of a bubble share one state of the detector, and two threads in it at
# once end the process. The detector looks at the order of events, which one processor shows as well.
.PHONY: race
race: ## the tests under the race detector, with few seeds; not the lock table, which starts no goroutine and takes its time
	$(call seeds,10) $(GO) test -race -cpu=1 -short -shuffle=on -timeout=$(TIMEOUT) \
		$$($(GO) list ./... | grep -vE '/(internal/(lint|mutants|reliability/scorecard)|lockd/locktable|examples/.*)$$')

.PHONY: sim
sim: ## the simulator of the whole service: SEEDS=200 SEED=1
	@$(call must-match,^TestSim,./internal/sim/)
	$(call seeds,200) $(GO) test -count=1 -v -run '^TestSim' -timeout=24h ./internal/sim/

.PHONY: sim-raft
sim-raft: ## the simulator of raft: SEEDS=200 SEED=1
	@$(call must-match,^TestSim,./raft/rafttest/)
	$(call seeds,200) $(GO) test -count=1 -v -run '^TestSim' -timeout=24h ./raft/rafttest/

.PHONY: sim-protocol
sim-protocol: ## the simulator of sessions, locks and clients: SEEDS=200 SEED=1
	@$(call must-match,^TestSim,./internal/simproto/)
	$(call seeds,200) $(GO) test -count=1 -v -run '^TestSim' -timeout=24h ./internal/simproto/

.PHONY: mutants
mutants: ## plant every bug of the tables and require a test to find it: PART=0/4 for a quarter
	$(GO) run ./internal/mutants -part $(PART)

.PHONY: reliability
reliability: ## write docs/RELIABILITY.md from what was recorded
	$(GO) run ./internal/reliability/scorecard -write

.PHONY: reproduce
reproduce: ## show old bugs on the commits that had them: BUG=ID, or all
	$(GO) run ./internal/reliability/scorecard -reproduce $(or $(BUG),all)

.PHONY: fuzz
fuzz: ## every fuzz target, FUZZTIME=100000x times; a time, as 10s, makes go test fail now and then at its end (go.dev/issue/75804)
	@targets=$$(grep -rHoE --include='*_test.go' --exclude-dir=testdata $(MODULES:%=--exclude-dir=%) '^func Fuzz[A-Za-z0-9_]+' . \
		| sed -E 's|/[^/]*:func | |'); \
	[ -n "$$targets" ] || { echo "no fuzz target found"; exit 1; }; \
	while read -r dir name; do \
		echo "$$dir $$name"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -timeout=$(TIMEOUT) "$$dir" </dev/null; \
	done <<<"$$targets"

.PHONY: disk
disk: ## tests on real bad disks, hosts short of time and memory, and hosts cut off; needs root
	[ "$$(id -u)" = 0 ] || { echo "make disk mounts file systems: run it as root"; exit 1; }
	@$(call must-match,^TestDisk,./raft/wal/)
	LOCKD_ROOT=1 $(GO) test -count=1 -v -run '^Test(Disk|Host)' -timeout=$(TIMEOUT) ./raft/... ./internal/checkpoint/ \
		./internal/faultfs/ ./internal/testdisk/ ./internal/endurance/ ./internal/acceptance/ ./internal/nemesis/

.PHONY: endurance
endurance: ## kill all nodes under load, and take their power: KILLS=20 CUTS=10; needs root
	[ "$$(id -u)" = 0 ] || { echo "make endurance mounts file systems: run it as root"; exit 1; }
	LOCKD_KILLS=$(or $(KILLS),20) LOCKD_ROOT=1 LOCKD_POWER_CUTS=$(or $(CUTS),10) $(GO) test -count=1 -v -timeout=1h ./internal/endurance/

.PHONY: nemesis
nemesis: ## five nodes and their clients under every fault, on hosts of their own: TIME=30m SEED=1 RACE=-race; needs root
	[ "$$(id -u)" = 0 ] || { echo "make nemesis makes network namespaces and mounts file systems: run it as root"; exit 1; }
	@$(call must-match,^TestNemesis,./internal/nemesis/)
	overlay=$$($(GO) run ./internal/clockskew/cmd bin/_clockskew); \
	LOCKD_ROOT=1 LOCKD_NEMESIS=$(or $(TIME),30m) $(if $(SEED),LOCKD_SEED=$(SEED)) $(GO) test $(RACE) -count=1 -v \
		-overlay="$$overlay" -tags=clockskew -run '^TestNemesis' -timeout=24h ./internal/nemesis/

.PHONY: partition
partition: ## cut off a minority of five nodes and its clients, in five ways; nobody may help: TIME=60s each; needs root
	[ "$$(id -u)" = 0 ] || { echo "make partition makes network namespaces and mounts file systems: run it as root"; exit 1; }
	@$(call must-match,^TestHostPartition,./internal/nemesis/)
	LOCKD_ROOT=1 LOCKD_PARTITION=$(or $(TIME),60s) $(GO) test -count=1 -v -run '^TestHostPartition' -timeout=24h ./internal/nemesis/

.PHONY: day
day: ## a day of cluster time with a new leader each minute; nothing may grow: HOURS=24 SEED=1
	@$(call must-match,^TestDayOfLeaders,./internal/endurance/)
	LOCKD_HOURS=$(or $(HOURS),24) $(if $(SEED),LOCKD_SEED=$(SEED)) $(GO) test -count=1 -v -run '^TestDayOfLeaders' -timeout=24h ./internal/endurance/

.PHONY: soak
soak: ## real nodes under load, with curves of latency and memory: TIME=30m
	cd bench && $(GO) run ./soak -time $(or $(TIME),30m) -svg ../docs/soak.svg $(SOAKFLAGS)

.PHONY: rolling
rolling: ## restart five nodes in turn, and replace all five by new ones, under load; no request may fail: ROUNDS=3
	@$(call must-match,^TestReplace,./internal/rolling/)
	LOCKD_ROLLING=$(or $(ROUNDS),3) $(GO) test -count=1 -v -run '^Test(Restart|Replace)' -timeout=2h ./internal/rolling/

.PHONY: keys
keys: ## change the gossip key of five nodes under load, and interrupt it at each step: ROUNDS=5
	@$(call must-match,^TestKeys,./internal/rolling/)
	LOCKD_ROLLING=$(or $(ROUNDS),5) $(GO) test -count=1 -v -run '^TestKeys' -timeout=2h ./internal/rolling/

.PHONY: outage
outage: ## stop and kill all of five nodes, and start them in any order; a quorum serves within 5 s: ROUNDS=20 SEED=1
	@$(call must-match,^TestOutage,./internal/rolling/)
	LOCKD_ROLLING=$(or $(ROUNDS),20) $(if $(SEED),LOCKD_SEED=$(SEED)) $(GO) test -count=1 -v -run '^TestOutage' -timeout=2h ./internal/rolling/

.PHONY: mixed
mixed: ## bring five nodes of an older commit to this one under load, and one back: OLD=COMMIT
	@[ -n "$(OLD)" ] || { echo "make mixed needs a commit: OLD=COMMIT"; exit 1; }
	@$(call must-match,^TestMixed,./internal/rolling/)
	LOCKD_OLD='$(OLD)' $(GO) test -count=1 -v -run '^TestMixed' -timeout=$(TIMEOUT) ./internal/rolling/

.PHONY: forming
forming: ## five nodes form a cluster in each way, amid crashes, cuts and operators: RUNS=200 in bubbles, PROCESSES=20, SEED=1
	@$(call must-match,^TestFormingRaces$$,./lockd/)
	@$(call must-match,^TestFormingProcesses$$,./cmd/lockd/)
	LOCKD_FORMING=$(or $(RUNS),200) $(if $(SEED),LOCKD_SEED=$(SEED)) $(GO) test -count=1 -v -timeout=2h -run '^TestFormingRaces$$' ./lockd/
	LOCKD_FORMING=$(or $(PROCESSES),20) $(if $(SEED),LOCKD_SEED=$(SEED)) $(GO) test -count=1 -v -timeout=2h -run '^TestFormingProcesses$$' ./cmd/lockd/

.PHONY: havoc
havoc: ## random faults under whole clusters: RUNS=300 SEED=1
	LOCKD_RUNS=$(or $(RUNS),300) $(call seeds) $(GO) test -count=1 -v -timeout=2h -run '^Test(Havoc|RollingRestart|RestartStorm|UnreliableNodes)$$' ./internal/acceptance/ ./client/go/

.PHONY: acceptance
acceptance: ## what users of lock services suffer from, at length: RUNS=10000 SESSIONS=4000 PAUSE=30
	LOCKD_RUNS=$(or $(RUNS),10000) LOCKD_SESSIONS=$(or $(SESSIONS),4000) LOCKD_PAUSE=$(or $(PAUSE),30) \
		$(GO) test -count=1 -v -timeout=2h -run '^TestField' ./internal/acceptance/

.PHONY: kill
kill: ## kill -9 the leader of three processes under load: KILLS=50
	LOCKD_KILLS=$(or $(KILLS),50) $(GO) test -count=1 -v -run '^TestKillLeader' -timeout=2h ./raft/counter/

.PHONY: overload
overload: ## three processes under four times the load the processors can bear, with pauses: TIME=10m
	LOCKD_OVERLOAD=$(or $(TIME),10m) $(GO) test -count=1 -v -run '^TestOverload' -timeout=24h ./raft/counter/

.PHONY: busy
busy: ## three nodes whose processes never rest, with pauses; no hint may change the leader: TIME=10m
	@$(call must-match,^TestBusy,./internal/endurance/)
	LOCKD_BUSY=$(or $(TIME),10m) $(GO) test -count=1 -v -run '^TestBusy' -timeout=24h ./internal/endurance/

.PHONY: snapshot
snapshot: ## a snapshot of 1 GiB to a new learner while proposals go on
	LOCKD_SNAPSHOT_BYTES=1073741824 $(GO) test -count=1 -v -run '^TestL10LearnerCatchesUpUnderLoad' -timeout=1h ./raft/

## Programs.

.PHONY: run
run: ## three nodes, two workers and a lock; a worker and the leader are killed; RUNFLAGS=-once ends after it
	$(GO) build -o bin/lockd ./cmd/lockd
	$(GO) run ./internal/demo -lockd bin/lockd $(RUNFLAGS)

.PHONY: counter
counter: ## raft alone: three processes replicate a counter, and the leader is killed; RUNFLAGS=-once ends after it
	$(GO) run ./raft/counter demo $(RUNFLAGS)

.PHONY: bench
bench: ## side by side with other libraries, in a module of its own
	cd bench && $(GO) run . $(BENCHFLAGS)

.PHONY: bench-locks
bench-locks: ## three nodes of lockd beside three of etcd, in processes of their own: BENCHFLAGS=-quick for a minute
	cd bench && $(GO) run ./locks $(BENCHFLAGS)

.PHONY: failover
failover: ## lose the leader in three ways beside etcd, on hosts of their own: KILLS=50, a quarter of an hour; needs root; FAILOVERFLAGS
	[ "$$(id -u)" = 0 ] || { echo "make failover makes network namespaces: run it as root"; exit 1; }
	cd bench && $(GO) run ./failover -kills $(or $(KILLS),50) $(FAILOVERFLAGS)

.PHONY: bench-growth
bench-growth: ## how cost grows, lockd beside etcd: tables and docs/growth.svg, a quarter of an hour; GROWTHFLAGS=-quick
	cd bench && $(GO) run ./locks -growth ../docs/growth.svg $(GROWTHFLAGS)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
