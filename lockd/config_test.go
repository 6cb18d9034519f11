package lockd_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd"
)

func TestValidateNamesWhatIsWrong(t *testing.T) {
	three := []lockd.Member{{"n1", "h:1"}, {"n2", "h:2"}, {"n3", "h:3"}}
	for want, c := range map[string]lockd.Config{
		"DataDir is missing":                     {},
		"DataDir and Memory exclude each other":  {DataDir: "x", Memory: true},
		"without Memory there is no use":         {DataDir: "x", Disk: &lockd.MemoryDisk{}},
		"Name is missing":                        {Memory: true, InitialCluster: three},
		`"n4", is not in InitialCluster`:         {Memory: true, InitialCluster: three, Name: "n4"},
		`InitialCluster names "n1" twice`:        {Memory: true, InitialCluster: []lockd.Member{{"n1", "h:1"}, {"n1", "h:2"}}, Name: "n1"},
		"the same address h:1":                   {Memory: true, InitialCluster: []lockd.Member{{"n1", "h:1"}, {"n2", "h:1"}}, Name: "n1"},
		`"h" is not host:port`:                   {Memory: true, InitialCluster: []lockd.Member{{"n1", "h"}}, Name: "n1"},
		`Name "a b" holds a space`:               {Memory: true, Name: "a b"},
		"65 bytes":                               {Memory: true, Name: strings.Repeat("x", 65)},
		`ListenClient "7400" is not host:port`:   {Memory: true, ListenClient: "7400"},
		`ListenHTTP "on" is not host:port`:       {Memory: true, ListenHTTP: "on"},
		`AdvertiseRaft "x" is not host:port`:     {Memory: true, AdvertiseRaft: "x"},
		"less than five times":                   {Memory: true, Heartbeat: time.Second, ElectionTimeout: 2 * time.Second},
		"TokenFloor":                             {Memory: true, TokenFloor: 1 << 60},
		"PeerTLS is needed":                      {Memory: true, InitialCluster: three, Name: "n1", ClientTLS: &tls.Config{}},
		`LockClasses names "jobs/" twice`:        {Memory: true, LockClasses: []string{"jobs/", "jobs/"}},
		"AdvertiseClient is needed":              {Memory: true, InitialCluster: three, Name: "n1", ListenClient: "0.0.0.0:7400"},
		"ListenRaft has 305 bytes":               {Memory: true, ListenRaft: strings.Repeat("x", 300) + ":7401"},
		"negative Heartbeat":                     {Memory: true, DrainTimeout: -1},
		"InitialCluster has 16 nodes":            {Memory: true, Name: "n0", InitialCluster: make([]lockd.Member, 16)},
		"ClusterName \"a,b\" holds a space, a c": {Memory: true, ClusterName: "a,b"},
	} {
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate says %v, want %q in it", err, want)
		}
		if _, err := lockd.New(c); err == nil {
			t.Errorf("New takes a configuration with %q", want)
		}
	}
}

func TestValidateSaysAllAtOnce(t *testing.T) {
	c := lockd.Config{ListenClient: "x", ListenRaft: "y"}
	err := c.Validate()
	for _, want := range []string{"ListenClient", "ListenRaft", "DataDir"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate says %v, want %s in it", err, want)
		}
	}
}

func TestZeroConfigButForADirectoryIsValid(t *testing.T) {
	for _, c := range []lockd.Config{{DataDir: "x"}, {Memory: true}, {Memory: true, ListenHTTP: lockd.Off}} {
		if err := c.Validate(); err != nil {
			t.Errorf("%v", err)
		}
	}
}
