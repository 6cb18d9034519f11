package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/membership"
)

// settings are what a node is told, by flags, the environment and a file.
type settings struct {
	Dev            bool
	Name           string
	ClusterName    string
	DataDir        string
	InitialCluster []string

	Join             []string
	BootstrapExpect  int
	NonVoter         bool
	DeclaredSize     int
	ReplaceAfter     time.Duration
	LeaveOnTerminate bool
	Zone             string

	ListenClient, ListenRaft, ListenGossip, ListenHTTP string
	AdvertiseClient, AdvertiseRaft, AdvertiseGossip    string
	GossipKeyFile, GossipProfile                       string

	TLSCert, TLSKey, TLSCA, TLSClientCA string

	LogLevel, LogFormat string
	Pprof               bool
	LockClasses         []string

	MinFree         size
	TokenFloor      uint64
	NoWait          bool
	DrainTimeout    time.Duration
	Heartbeat       time.Duration
	ElectionTimeout time.Duration
	NoFailureHints  bool

	MaxConnections, MaxInFlight                          int
	MaxQueue                                             size
	HelloTimeout, WriteTimeout, BodyTimeout, IdleTimeout time.Duration
}

const defaultDataDir = "lockd-data"

func defaultSettings() *settings {
	return &settings{
		Name: lockd.DefaultName, ClusterName: lockd.DefaultClusterName, DataDir: defaultDataDir,
		ListenClient: lockd.DefaultListenClient, ListenRaft: lockd.DefaultListenRaft, ListenHTTP: lockd.DefaultListenHTTP,
		LogLevel: "info", LogFormat: "text",
		ListenGossip: lockd.DefaultListenGossip, GossipProfile: string(membership.Default), ReplaceAfter: lockd.DefaultReplaceAfter,
		MinFree: lockd.DefaultMinFree, DrainTimeout: lockd.DefaultDrainTimeout,
		Heartbeat: lockd.DefaultHeartbeat, ElectionTimeout: lockd.DefaultElection,
		MaxConnections: 20_000, MaxInFlight: 1024, MaxQueue: 4 << 20,
		HelloTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, BodyTimeout: 10 * time.Second, IdleTimeout: 30 * time.Minute,
	}
}

// setting is one of the settings: --a-name, LOCKD_A_NAME in the environment, a_name in the file.
type setting struct {
	name, category, usage string
	reloaded              bool // SIGHUP brings it into force
	field                 func(*settings) any
}

func (s *setting) key() string      { return strings.ReplaceAll(s.name, "-", "_") }
func (s *setting) variable() string { return "LOCKD_" + strings.ToUpper(s.key()) }

const (
	ofMembers = "Membership"
	ofNetwork = "Network"
	ofTLS     = "TLS"
	ofWatch   = "Logs and metrics"
	ofTuning  = "Tuning"
)

// everySetting lists the settings in the order in which people read them.
func everySetting() []setting {
	return []setting{
		{"dev", "", "one node that keeps everything in memory", false, func(s *settings) any { return &s.Dev }},
		{"name", "", "`NAME` of this node, unique in the cluster", false, func(s *settings) any { return &s.Name }},
		{"cluster-name", "", "`NAME` of the cluster", false, func(s *settings) any { return &s.ClusterName }},
		{"data-dir", "", "`DIRECTORY` for what must not be lost", false, func(s *settings) any { return &s.DataDir }},
		{"initial-cluster", "", "all nodes of a new cluster, `NAME=HOST:PORT`,... with their Raft ports, the same on each of them", false, func(s *settings) any { return &s.InitialCluster }},

		{"join", ofMembers, "gossip ports of other nodes, `SEED`,...: host:port, dns+host:port, srv+name or file:///path", false, func(s *settings) any { return &s.Join }},
		{"bootstrap-expect", ofMembers, "found a cluster once exactly `N` nodes that expect as many have found each other", false, func(s *settings) any { return &s.BootstrapExpect }},
		{"non-voter", ofMembers, "stay a learner: serve reads, forward the rest, and count for no majority", false, func(s *settings) any { return &s.NonVoter }},
		{"declared-size", ofMembers, "replace a dead voter by a learner, so that `N` voters stay; 0: never", false, func(s *settings) any { return &s.DeclaredSize }},
		{"replace-after", ofMembers, "`TIME` of silence after which a voter is dead", false, func(s *settings) any { return &s.ReplaceAfter }},
		{"leave-on-terminate", ofMembers, "leave the cluster for good at a graceful stop", false, func(s *settings) any { return &s.LeaveOnTerminate }},
		{"zone", ofMembers, "`NAME` of where the node stands, for people", false, func(s *settings) any { return &s.Zone }},
		{"listen-gossip", ofMembers, "`ADDRESS` for gossip, UDP and TCP, or off; used with --join and --bootstrap-expect", false, func(s *settings) any { return &s.ListenGossip }},
		{"advertise-gossip", ofMembers, "`ADDRESS` at which nodes reach it: an IP address and a port", false, func(s *settings) any { return &s.AdvertiseGossip }},
		{"gossip-key-file", ofMembers, "`FILE` with the first key that encrypts gossip; see lockd keyring", false, func(s *settings) any { return &s.GossipKeyFile }},
		{"gossip-profile", ofMembers, "`PROFILE`: default, lan, wan or fast", false, func(s *settings) any { return &s.GossipProfile }},

		{"listen-client", ofNetwork, "`ADDRESS` for clients", false, func(s *settings) any { return &s.ListenClient }},
		{"listen-raft", ofNetwork, "`ADDRESS` for the other nodes", false, func(s *settings) any { return &s.ListenRaft }},
		{"listen-http", ofNetwork, "`ADDRESS` for health, metrics and snapshots, or off", false, func(s *settings) any { return &s.ListenHTTP }},
		{"advertise-client", ofNetwork, "`ADDRESS` at which clients reach this node, if not where it listens", false, func(s *settings) any { return &s.AdvertiseClient }},
		{"advertise-raft", ofNetwork, "`ADDRESS` at which nodes reach it, if not as the list says", false, func(s *settings) any { return &s.AdvertiseRaft }},

		{"tls-cert", ofTLS, "`FILE` of the node's certificate, PEM; turns TLS on", false, func(s *settings) any { return &s.TLSCert }},
		{"tls-key", ofTLS, "`FILE` of its key, PEM", false, func(s *settings) any { return &s.TLSKey }},
		{"tls-ca", ofTLS, "`FILE` of the authorities of the nodes' certificates, PEM; turns TLS between nodes on", false, func(s *settings) any { return &s.TLSCA }},
		{"tls-client-ca", ofTLS, "`FILE` of the authorities of the clients' certificates (and the nodes'); clients must have one then", false, func(s *settings) any { return &s.TLSClientCA }},

		{"log-level", ofWatch, "`LEVEL`: debug, info, warn or error", true, func(s *settings) any { return &s.LogLevel }},
		{"log-format", ofWatch, "`FORMAT`: text or json", false, func(s *settings) any { return &s.LogFormat }},
		{"pprof", ofWatch, "serve /debug/pprof on the HTTP port", false, func(s *settings) any { return &s.Pprof }},
		{"lock-classes", ofWatch, "`PREFIX`,... of lock names that get histograms of their own", false, func(s *settings) any { return &s.LockClasses }},

		{"min-free", ofTuning, "`SIZE` of free disk below which nothing more is taken in", false, func(s *settings) any { return &s.MinFree }},
		{"token-floor", ofTuning, "first `TOKEN` of a new cluster, if the clock cannot be trusted", false, func(s *settings) any { return &s.TokenFloor }},
		{"no-wait", ofTuning, "after a restore: grant at once, the old cluster is dead", false, func(s *settings) any { return &s.NoWait }},
		{"drain-timeout", ofTuning, "longest `TIME` of a graceful stop", false, func(s *settings) any { return &s.DrainTimeout }},
		{"heartbeat", ofTuning, "`TIME` between the leader's signs of life", false, func(s *settings) any { return &s.Heartbeat }},
		{"election-timeout", ofTuning, "`TIME` without a leader before an election", false, func(s *settings) any { return &s.ElectionTimeout }},
		{"no-failure-hints", ofTuning, "only the election timeout tells that a leader is gone: for hosts that often stop for half a second", false, func(s *settings) any { return &s.NoFailureHints }},
		{"max-connections", ofTuning, "`N` connections at once", false, func(s *settings) any { return &s.MaxConnections }},
		{"max-in-flight", ofTuning, "`N` unanswered requests of one connection", false, func(s *settings) any { return &s.MaxInFlight }},
		{"max-queue", ofTuning, "`SIZE` that may wait for one reader", false, func(s *settings) any { return &s.MaxQueue }},
		{"hello-timeout", ofTuning, "`TIME` for a new connection to say who it is", false, func(s *settings) any { return &s.HelloTimeout }},
		{"write-timeout", ofTuning, "`TIME` for a peer to read", false, func(s *settings) any { return &s.WriteTimeout }},
		{"body-timeout", ofTuning, "`TIME` for one message to arrive", false, func(s *settings) any { return &s.BodyTimeout }},
		{"idle-timeout", ofTuning, "`TIME` without a message", false, func(s *settings) any { return &s.IdleTimeout }},
	}
}

// flag returns the setting as a flag. All but switches are read as text, so that a wrong value is refused in one way, wherever it
// stands.
func (s *setting) flag(defaults *settings) cli.Flag {
	env := []string{s.variable()}
	field := s.field(defaults)
	if _, ok := field.(*bool); ok {
		return &cli.BoolFlag{Name: s.name, Category: s.category, Usage: s.usage, EnvVars: env}
	}
	return &cli.StringFlag{Name: s.name, Category: s.category, Usage: s.usage, EnvVars: env, DefaultText: text(field)}
}

// set takes a value as it stands in a flag or a variable.
func set(field any, value string) error {
	var err error
	switch p := field.(type) {
	case *string:
		*p = value
	case *bool:
		if *p, err = strconv.ParseBool(value); err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
	case *int:
		if *p, err = strconv.Atoi(value); err != nil {
			return fmt.Errorf("%q is no number", value)
		}
	case *uint64:
		if *p, err = strconv.ParseUint(value, 10, 64); err != nil {
			return fmt.Errorf("%q is no number", value)
		}
	case *time.Duration:
		if *p, err = time.ParseDuration(value); err != nil {
			return fmt.Errorf("%q is no time such as 500ms, 10s or 1h", value)
		}
	case *size:
		return p.parse(value)
	case *[]string:
		*p = nil
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*p = append(*p, item)
			}
		}
	default:
		panic(fmt.Sprintf("settings: a field of type %T", field))
	}
	return nil
}

// text returns a field as set takes it.
func text(field any) string {
	switch p := field.(type) {
	case *string:
		return *p
	case *bool:
		return strconv.FormatBool(*p)
	case *int:
		return strconv.Itoa(*p)
	case *uint64:
		if *p == 0 {
			return ""
		}
		return strconv.FormatUint(*p, 10)
	case *time.Duration:
		return shortDuration(*p)
	case *size:
		return p.String()
	case *[]string:
		return strings.Join(*p, ",")
	default:
		panic(fmt.Sprintf("settings: a field of type %T", field))
	}
}

// size is a number of bytes.
type size uint64

var sizeUnits = []struct {
	name string
	of   size
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func (s *size) parse(value string) error {
	number, unit := value, size(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(value, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.of
			break
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > uint64(1<<62/unit) {
		return fmt.Errorf("%q is no size such as 4MiB or 1GiB", value)
	}
	*s = size(n) * unit
	return nil
}

// String returns the size in the largest unit that it is a multiple of.
func (s *size) String() string {
	for _, u := range sizeUnits {
		if *s != 0 && *s%u.of == 0 {
			return fmt.Sprintf("%d%s", *s/u.of, u.name)
		}
	}
	return "0B"
}
