package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/lockd/lockd/internal/telemetry"
	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/membership"
)

const serveHelp = `Settings come from flags, then LOCKD_* variables (--min-free is LOCKD_MIN_FREE),
then the YAML file of --config (min_free: 1GiB), then defaults. HUP reads the
file again: the log level and what the TLS files hold take force, the rest needs
a restart. TERM or INT stops gracefully, a second one at once. OTEL_* variables
send traces and metrics; /metrics on the HTTP port is there without them.

Examples:
lockd serve --dev
lockd serve --data-dir /var/lib/lockd
lockd serve --name n1 --data-dir /var/lib/lockd --listen-raft n1:7401 \
--listen-client n1:7400 --initial-cluster n1=n1:7401,n2=n2:7401,n3=n3:7401
lockd serve --name n1 --data-dir /var/lib/lockd --join n1,n2,n3 \
--bootstrap-expect 3 --gossip-key-file /etc/lockd/gossip.key
lockd serve --config /etc/lockd.yaml --check-config`

func (p *program) serveCommand() *cli.Command {
	defaults := defaultSettings()
	flags := []cli.Flag{
		&cli.StringFlag{Name: "config", EnvVars: []string{"LOCKD_CONFIG"}, Usage: "YAML `FILE` of settings"},
		&cli.BoolFlag{Name: "check-config", Usage: "print the settings in force and where each comes from, and end"},
	}
	for _, s := range everySetting() {
		flags = append(flags, s.flag(defaults))
	}
	return &cli.Command{
		Name: "serve", Category: groupOperate, Usage: "run a node", UsageText: "lockd serve [flags]",
		Description: serveHelp, Flags: flags, Action: p.bare(serve),
	}
}

// daemon is a node with what surrounds it.
type daemon struct {
	*call
	load  func() (*loaded, error)
	now   *loaded
	level *slog.LevelVar
	log   *slog.Logger
	tls   *nodeTLS
}

func serve(ctx context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	given := func(name string) bool { return slices.Contains(c.given, name) }
	d := &daemon{call: c, level: new(slog.LevelVar)}
	d.load = func() (*loaded, error) { return loadSettings(c.flags.String("config"), c.flags, given) }
	var err error
	if d.now, err = d.load(); err != nil {
		return &failure{code: exitUsage, err: err, hint: "see: lockd help serve"}
	}
	config, err := d.now.config()
	if err == nil {
		d.tls, err = openTLS(&d.now.settings, &config)
	}
	if err == nil {
		err = config.Validate()
	}
	if err != nil {
		return &failure{code: exitUsage, err: asWritten(err), hint: "see: lockd help serve"}
	}
	if c.flags.Bool("check-config") {
		return d.printSettings(c.out)
	}
	return d.run(ctx, config)
}

// asWritten names the settings in an error of a Config as they are written here.
func asWritten(err error) error {
	named := err.Error()
	for _, s := range everySetting() {
		var field strings.Builder
		for word := range strings.SplitSeq(s.name, "-") {
			field.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
		named = regexp.MustCompile(`\b`+field.String()+`\b`).ReplaceAllString(named, s.key())
	}
	return errors.New(strings.ReplaceAll(named, "Memory", "dev"))
}

func (d *daemon) printSettings(w io.Writer) error {
	if err := d.now.print(w); err != nil {
		return err
	}
	for _, v := range telemetryEnvironment(os.Environ()) {
		fmt.Fprintln(w, "# "+v)
	}
	return nil
}

// config returns what the settings mean for a node.
func (l *loaded) config() (lockd.Config, error) {
	c := lockd.Config{
		Name: l.Name, ClusterName: l.ClusterName, DataDir: l.DataDir, Memory: l.Dev,
		ListenClient: l.ListenClient, ListenRaft: l.ListenRaft, ListenHTTP: l.ListenHTTP,
		AdvertiseClient: l.AdvertiseClient, AdvertiseRaft: l.AdvertiseRaft,
		Join: l.Join, BootstrapExpect: l.BootstrapExpect, NonVoter: l.NonVoter, DeclaredSize: l.DeclaredSize, ReplaceAfter: l.ReplaceAfter,
		LeaveOnTerminate: l.LeaveOnTerminate, Zone: l.Zone, ListenGossip: l.ListenGossip, AdvertiseGossip: l.AdvertiseGossip,
		GossipProfile: membership.Profile(l.GossipProfile),
		Pprof:         l.Pprof, LockClasses: l.LockClasses, MinFree: uint64(l.MinFree), TokenFloor: l.TokenFloor, NoWait: l.NoWait,
		DrainTimeout: l.DrainTimeout, Heartbeat: l.Heartbeat, ElectionTimeout: l.ElectionTimeout, NoFailureHints: l.NoFailureHints,
		Limits: lockd.Limits{
			Connections: l.MaxConnections, InFlight: l.MaxInFlight, QueueBytes: int(l.MaxQueue),
			HelloTimeout: l.HelloTimeout, WriteTimeout: l.WriteTimeout, BodyTimeout: l.BodyTimeout, IdleTimeout: l.IdleTimeout,
		},
	}
	if l.Dev && l.from["data-dir"] == "" {
		c.DataDir = ""
	}
	if len(l.Join) == 0 && l.BootstrapExpect == 0 && l.from["listen-gossip"] == "" {
		c.ListenGossip = lockd.Off
	}
	var errs []error
	if l.GossipKeyFile != "" {
		key, err := os.ReadFile(l.GossipKeyFile)
		if err != nil {
			errs = append(errs, fmt.Errorf("gossip_key_file: %w", err))
		}
		c.GossipKey = strings.TrimSpace(string(key))
	}
	for _, item := range l.InitialCluster {
		name, raft, ok := strings.Cut(item, "=")
		if !ok {
			errs = append(errs, fmt.Errorf("initial_cluster: %q is not NAME=HOST:PORT", item))
			continue
		}
		c.InitialCluster = append(c.InitialCluster, lockd.Member{Name: name, Raft: raft})
	}
	if _, err := parseLevel(l.LogLevel); err != nil {
		errs = append(errs, err)
	}
	if l.LogFormat != "text" && l.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("log_format: %q is neither text nor json", l.LogFormat))
	}
	return c, errors.Join(errs...)
}

func parseLevel(name string) (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[name]
	if !ok {
		return 0, fmt.Errorf("log_level: %q is not debug, info, warn or error", name)
	}
	return level, nil
}

// run runs the node until a signal ends it.
func (d *daemon) run(ctx context.Context, config lockd.Config) (err error) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.NumCPU() + 2) // a write to disk holds one of them
	}
	level, err := parseLevel(d.now.LogLevel)
	if err != nil {
		return err
	}
	d.level.Set(level)
	t, err := telemetry.Setup(ctx, telemetry.Options{Service: "lockd", Version: version(), Instance: d.now.Name, Logs: d.logHandler()})
	if err != nil {
		return &failure{code: exitUsage, err: err}
	}
	defer func() { err = errors.Join(err, t.Shutdown(context.WithoutCancel(ctx))) }()
	d.log = t.Logger
	if err := relaxTimers(); err != nil {
		d.log.Debug("timers stay as exact as they are, which costs some CPU", "error", err)
	}
	if err := d.tls.observe(t); err != nil {
		return err
	}
	config.Logger, config.TracerProvider, config.MeterProvider, config.Metrics = t.Logger, t.TracerProvider, t.MeterProvider, t.Metrics
	config.Ready = func(a lockd.Addresses) { d.ready(ctx, a) }
	if d.now.Dev {
		d.log.Warn("everything is kept in memory and is gone when this process ends")
	}
	server, err := lockd.New(config)
	if err != nil {
		return err
	}
	var beside sync.WaitGroup
	stopped := make(chan struct{})
	defer beside.Wait()
	defer close(stopped)
	running, stop := context.WithCancel(ctx)
	defer stop()
	caught := make(chan os.Signal, manySignals)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(caught)
	beside.Go(func() { d.obey(ctx, caught, stop, server.Close, stopped) })
	beside.Go(func() { d.tls.run(running, d.log) })
	return server.Run(running)
}

func (d *daemon) logHandler() slog.Handler {
	options := &slog.HandlerOptions{Level: d.level}
	if d.now.LogFormat == "json" {
		return slog.NewJSONHandler(d.err, options)
	}
	return slog.NewTextHandler(d.err, options)
}

// ready tells everybody who waits for it that the node serves.
func (d *daemon) ready(ctx context.Context, a lockd.Addresses) {
	d.log.Info("serving", "name", d.now.Name, "client", a.Client, "raft", a.Raft, "http", a.HTTP, "version", version())
	if err := notifySystemd(ctx, "READY=1"); err != nil {
		d.log.Warn("the service manager was not told", "error", err)
	}
}

// obey does what signals ask for until the server has stopped.
func (d *daemon) obey(ctx context.Context, caught <-chan os.Signal, stop func(), crash func() error, stopped <-chan struct{}) {
	ends := 0
	for {
		select {
		case s := <-caught:
			if s == syscall.SIGHUP {
				d.reload()
				continue
			}
			if ends++; ends == 1 {
				d.log.Info("stopping gracefully; another signal stops at once", "signal", s.String())
				if err := notifySystemd(ctx, "STOPPING=1"); err != nil {
					d.log.Warn("the service manager was not told", "error", err)
				}
				stop()
				continue
			}
			d.log.Warn("stopping at once", "signal", s.String())
			if err := crash(); err != nil {
				d.log.Error("stopping at once failed", "error", err)
			}
		case <-stopped:
			return
		}
	}
}

// reload reads the settings again and brings into force what can be.
func (d *daemon) reload() {
	next, err := d.load()
	if err == nil {
		_, err = next.config()
	}
	if err == nil {
		err = d.tls.reload(&next.settings)
	}
	if err != nil {
		d.log.Error("the settings stay as they were", "error", err)
		return
	}
	if level, err := parseLevel(next.LogLevel); err == nil {
		d.level.Set(level)
	}
	var changed, later []string
	for _, s := range everySetting() {
		if text(s.field(&next.settings)) == text(s.field(&d.now.settings)) {
			continue
		}
		if s.reloaded {
			changed = append(changed, s.key())
		} else {
			later = append(later, s.key())
		}
	}
	d.now = next
	d.log.Info("settings read again", "changed", changed, "after_restart", later)
}
