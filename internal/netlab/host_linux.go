package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	device = "lan"
	// mtu makes bulk transfers cheap, and still leaves them packets enough for faults to hit.
	mtu = 9000
	// sendQueue is how many packets may wait in a host for the switch. What is more is lost, as on any device.
	sendQueue = 2000
)

// host is one network namespace. Its device lives as long as tun is open.
type host struct {
	address   netip.Addr
	namespace *os.File
	tun       *os.File
}

func newHost(address netip.Addr) (*host, error) {
	h := &host{address: address}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		var err error
		if h.namespace, err = openNamespace(); err != nil {
			return err
		}
		return h.configure()
	})
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// in calls f on a thread of the host: what f makes of sockets and processes belongs there.
func (h *host) in(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter host %v: %w", h.address, err)
		}
		return f()
	})
}

// onThread calls f, which may change its thread's namespace. A thread that finds no way back ends with its goroutine.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := openNamespace()
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		err = f()
		back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)
		if back == nil {
			runtime.UnlockOSThread()
		}
		done <- errors.Join(err, back, home.Close())
	}()
	return <-done
}

// openNamespace opens the network namespace of the calling thread.
func openNamespace() (*os.File, error) {
	return os.OpenFile("/proc/thread-self/ns/net", os.O_RDONLY|syscall.O_CLOEXEC, 0)
}

// configure makes the device and gives it its address, in the namespace of the calling thread.
func (h *host) configure() error {
	// No address of version 6, so that nothing is sent that nobody asked for.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make the TUN device: %w", err), unix.Close(fd))
	}
	h.tun = os.NewFile(uintptr(fd), "tun "+h.address.String()) // only now: before TUNSETIFF it cannot be polled
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(h.setUp(socket), unix.Close(socket))
}

func (h *host) setUp(socket int) error {
	address, netmask := h.address.As4(), [4]byte{255, 255, 255, 0}
	for _, step := range []struct {
		what, device string
		request      uint
		set          func(*unix.Ifreq) error
	}{
		{"address", device, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address[:]) }},
		{"netmask", device, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(netmask[:]) }},
		{"MTU", device, unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
		{"queue", device, unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(sendQueue); return nil }},
		{"flags", device, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
		{"flags", "lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		request, err := unix.NewIfreq(step.device)
		if err == nil {
			err = step.set(request)
		}
		if err == nil {
			err = unix.IoctlIfreq(socket, step.request, request)
		}
		if err != nil {
			return fmt.Errorf("set the %s of %s in host %v: %w", step.what, step.device, h.address, err)
		}
	}
	return nil
}

// path names the namespace for other processes, as long as this one has it open.
func (h *host) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.namespace.Fd()) }

// processes returns what runs in the host.
func (h *host) processes() ([]int, error) {
	mine, err := h.namespace.Stat()
	if err != nil {
		return nil, err
	}
	all, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, entry := range all {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// One that ended meanwhile is none of its processes.
		if theirs, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && os.SameFile(mine, theirs) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// kill ends what runs in the host.
func (h *host) kill() error {
	pids, err := h.processes()
	for _, pid := range pids {
		if e := unix.Kill(pid, unix.SIGKILL); e != nil && !errors.Is(e, unix.ESRCH) {
			err = errors.Join(err, fmt.Errorf("kill %d in host %v: %w", pid, h.address, e))
		}
	}
	return err
}

func (h *host) close() error {
	var err error
	for _, f := range []*os.File{h.tun, h.namespace} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}
