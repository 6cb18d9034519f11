package nemesis

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/lockd/lockd/internal/clockskew"
)

// clockLine reaches the clocks of a process, see serveClock. It survives neither the process nor another attach.
type clockLine struct {
	conn  net.Conn
	child *os.File
}

// attach gives a process that is about to be started a line of its own.
func (c *clockLine) attach(cmd *exec.Cmd) error {
	c.close()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("line to the clocks of a process: %w", err)
	}
	ours := os.NewFile(uintptr(pair[0]), "clock")
	c.child = os.NewFile(uintptr(pair[1]), "clock")
	if c.conn, err = net.FileConn(ours); err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{c.child} // clockFile
	cmd.Env = append(cmd.Environ(), clockEnv+"=1")
	return ours.Close()
}

// set changes the clocks, and returns when they have changed.
func (c *clockLine) set(k clockskew.Clock) error {
	line, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := c.conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		return err
	}
	_, err = bufio.NewReader(c.conn).ReadString('\n')
	return err
}

func (c *clockLine) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		_ = c.child.Close()
	}
	*c = clockLine{}
}
