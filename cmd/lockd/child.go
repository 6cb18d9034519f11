package main

import (
	"errors"
	"os"
	"os/exec"
)

// findProgram returns the file to run, or the failure with the exit code that shells use for it.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil || errors.Is(err, exec.ErrDot) {
		return path, nil // what stands in the current directory was named on purpose
	}
	return "", notStarted(name, err)
}

func notStarted(name string, err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return &failure{code: exitNotFound, err: errors.New(name + ": command not found")}
	}
	if cause := errors.Unwrap(err); cause != nil {
		err = cause
	}
	return &failure{code: exitNotExecutable, err: errors.New(name + ": cannot be executed: " + err.Error())}
}
