package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/membership"
)

// knockTime is how long another machine may take to say whether somebody listens.
const knockTime = 3 * time.Second

// start judges what a first start with the settings would find.
func (f *findings) start(ctx context.Context, l *loaded) error {
	config, err := l.config()
	if err == nil {
		_, err = openTLS(&l.settings, &config)
	}
	if err == nil {
		err = config.Validate()
	}
	if err != nil {
		return &failure{code: exitUsage, err: asWritten(err), hint: "see: lockd help serve"}
	}
	if l.TLSCert != "" {
		f.ok("tls", "this node", "the files of TLS can be read and belong together")
	}
	host := lockd.CheckHost(ctx, config.DataDir)
	host.Disk.Mark = config.MinFree
	f.host(host, l)
	for _, p := range []struct{ name, flag, at string }{
		{"client", "--listen-client", config.ListenClient},
		{"Raft", "--listen-raft", config.ListenRaft},
		{"HTTP", "--listen-http", config.ListenHTTP},
		{"gossip", "--listen-gossip", config.ListenGossip},
	} {
		if p.at != lockd.Off {
			f.bind(ctx, p.name, p.flag, p.at)
		}
	}
	f.others(ctx, config)
	return nil
}

// bind tries whether a port is free, and looks who has it if not.
func (f *findings) bind(ctx context.Context, name, flag, at string) {
	var err error
	open := func(c io.Closer, e error) {
		if e == nil {
			e = c.Close()
		}
		err = errors.Join(err, e)
	}
	var listen net.ListenConfig
	l, e := listen.Listen(ctx, "tcp", at)
	open(l, e)
	if name == "gossip" {
		p, e := listen.ListenPacket(ctx, "udp", at)
		open(p, e)
	}
	switch {
	case err == nil:
		f.ok("ports", "this node", "%s port %s is free", name, at)
	case errors.Is(err, syscall.EADDRINUSE):
		whose := "somebody who does not take connections has it"
		if conn, err := (&net.Dialer{Timeout: knockTime}).DialContext(ctx, "tcp", here(at)); err == nil {
			_ = conn.Close() // it was only tried
			whose = "another process answers there"
		}
		f.problem("ports", "this node", "stop the other process (see: ss -ltnup), or choose another port with "+flag, "%s port %s is taken: %s", name, at, whose)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		f.problem("ports", "this node", "name an address of this machine (see: ip address) with "+flag, "%s port %s: this machine has no such address", name, at)
	default:
		f.problem("ports", "this node", "choose another address with "+flag, "%s port %s: %v", name, at, err)
	}
}

// others knocks at the nodes that the settings name.
func (f *findings) others(ctx context.Context, config lockd.Config) {
	type door struct{ name, port, at string }
	var doors []door
	for _, m := range config.InitialCluster {
		if m.Name != config.Name {
			doors = append(doors, door{m.Name, "Raft", m.Raft})
		}
	}
	for _, text := range config.Join {
		seed, err := membership.ParseSeed(text)
		if err != nil {
			continue // the settings have been judged
		}
		found, err := seed.Resolve(ctx)
		if err != nil {
			f.problem("ports", text, "look at the name, and at the name service", "%v", err)
		}
		for _, at := range found {
			doors = append(doors, door{text, "gossip (TCP)", at.String()})
		}
	}
	answers := make([]error, len(doors))
	var knocking sync.WaitGroup
	for i, d := range doors {
		knocking.Go(func() {
			conn, err := (&net.Dialer{Timeout: knockTime}).DialContext(ctx, "tcp", d.at)
			if err == nil {
				err = conn.Close()
			}
			answers[i] = err
		})
	}
	knocking.Wait()
	for i, d := range doors {
		f.door(d.name, d.port, d.at, answers[i])
	}
	if len(config.Join) > 0 {
		f.ok("ports", "gossip", "UDP is tried once the node runs: lockd doctor")
	}
}

// door judges what knocking has brought. Whoever refuses was reached: the node is not started yet.
func (f *findings) door(name, port, at string, err error) {
	_, unknown := errors.AsType[*net.DNSError](err)
	switch {
	case err == nil:
		f.ok("ports", name, "%s port %s answers", port, at)
	case errors.Is(err, syscall.ECONNREFUSED):
		f.ok("ports", name, "%s port %s can be reached, and nobody listens there yet", port, at)
	case unknown:
		f.problem("ports", name, "look at the name, and at the name service", "%s port %s: %v", port, at, err)
	default:
		f.problem("ports", name, fmt.Sprintf("let TCP through to %s; is the machine up?", at), "%s port %s: %v", port, at, err)
	}
}

// here is where this machine reaches what listens at an address: it may listen on all of them.
func here(listens string) string {
	host, port, err := net.SplitHostPort(listens)
	if err != nil {
		return listens
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && ip == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
