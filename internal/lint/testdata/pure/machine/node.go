package machine

import "os"

var limit = 3

func drive() error { return os.Remove("x") }
