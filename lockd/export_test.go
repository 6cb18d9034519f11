package lockd

// RecoverSteps is how many points there are at which a recovery can be made to crash.
const RecoverSteps = int(recoverSteps)

// CrashAfter ends a recovery after a step as the end of its process would.
func (o *RecoverOptions) CrashAfter(step int, err error) {
	o.crash = func(at recoverStep) error {
		if int(at) == step {
			return err
		}
		return nil
	}
}

// Seen is what a disk in memory says of the cluster of its node.
type Seen struct {
	Cluster string // empty: the node has none
	Founded bool   // there is a log
	Promise string // the cluster of a founding that the node takes part in
	Founder bool   // the founding is its own
}

// Seen returns what the disk says at this moment.
func (d *MemoryDisk) Seen() Seen {
	id, _ := d.home.load()
	s := Seen{Founded: id.Founded}
	if id.Founded || !id.ClusterID.IsZero() {
		s.Cluster = nonceText(id.cluster())
	}
	if p := id.Promise; p != nil {
		s.Promise, s.Founder = p.Cluster.String(), p.Founder == id.peer()
	}
	return s
}

func nonceText(c [16]byte) string { return clusterID(c).String() }

// Crash returns a function that undoes what is written from now on to what names the node and its promises. What a node writes while the
// test ends it would not be on the disk of one that has crashed.
func (d *MemoryDisk) Crash() (undo func()) {
	before, _ := d.home.load()
	return func() { _ = d.home.save(before) }
}
