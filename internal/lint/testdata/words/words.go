// Package words says what it must not. TODO: mend it.
package words

// Data lies in /root/data/, see issue 7, or in raft/root/x, which is fine.
const Data = "https://proxy.golang.org/x"
