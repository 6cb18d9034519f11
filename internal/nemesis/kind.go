package nemesis

import (
	"slices"
	"time"
)

// kind names a kind of fault.
type kind string

// lane is a set of kinds of which one is in force at a time; faults of different lanes meet.
type lane int

const (
	quality lane = iota // how links pass packets
	cuts                // which links pass none
	nodes               // processes and disks of nodes
	others              // clients, and everybody's clocks
	lanes
)

// kindInfo says what a kind of fault is like.
type kindInfo struct {
	kind          kind
	lane          lane
	least, most   time.Duration // how long it lasts
	fault         string        // what internal/reliability calls it
	beyond        bool          // it breaks the assumption about clock rates: beliefs about validity are not demanded to be true
	leadersSkewed bool          // nor is when sessions expire
}

const (
	loss      kind = "loss"
	delay     kind = "delay"
	duplicate kind = "duplicate"
	reorder   kind = "reorder"
	corrupt   kind = "corrupt"
	bandwidth kind = "bandwidth"
	reset     kind = "reset"

	split     kind = "split"
	oneWay    kind = "one-way cut"
	isolation kind = "isolated node"
	partial   kind = "bridge partition"
	clientCut kind = "isolated client"
	halfOpen  kind = "half-open"

	killNode     kind = "kill of a node"
	killLeader   kind = "kill of the leader"
	killMinority kind = "kill of a minority"
	killAll      kind = "kill of all nodes"
	stopNode     kind = "stop of a node"
	stopLeader   kind = "stop of the leader"
	slowDisk     kind = "slow disk"
	hungDisk     kind = "hung disk"
	fullDisk     kind = "full disk"
	powerCut     kind = "power cut"
	powerCutAll  kind = "power cut of all nodes"

	stopHolder  kind = "stop of a holder"
	killHolder  kind = "kill of a holder"
	wallNode    kind = "wall jump of a node"
	wallClient  kind = "wall jump of a client"
	jumpNode    kind = "monotonic jump of a node"
	jumpClient  kind = "monotonic jump of a client"
	driftNode   kind = "drift of a node"
	driftClient kind = "drift of a client"
	driftBeyond kind = "drift of the leader beyond 1 %"
)

// kinds is the table of all of them.
func kinds() []kindInfo {
	const s = time.Second
	return []kindInfo{
		{kind: loss, lane: quality, least: 3 * s, most: 7 * s, fault: "messages lost"},
		{kind: delay, lane: quality, least: 3 * s, most: 7 * s, fault: "messages late or out of order"},
		{kind: duplicate, lane: quality, least: 3 * s, most: 6 * s, fault: "messages doubled"},
		{kind: reorder, lane: quality, least: 3 * s, most: 6 * s, fault: "messages late or out of order"},
		{kind: corrupt, lane: quality, least: 3 * s, most: 6 * s, fault: "payload damaged"},
		{kind: bandwidth, lane: quality, least: 3 * s, most: 7 * s, fault: "little bandwidth"},
		{kind: reset, lane: quality, least: 2 * s, most: 4 * s, fault: "connection broken"},

		{kind: split, lane: cuts, least: 2 * s, most: 6 * s, fault: "network in two parts"},
		{kind: oneWay, lane: cuts, least: 2 * s, most: 6 * s, fault: "one direction cut"},
		{kind: isolation, lane: cuts, least: 2 * s, most: 6 * s, fault: "node off the network"},
		{kind: partial, lane: cuts, least: 2 * s, most: 6 * s, fault: "some links cut"},
		{kind: clientCut, lane: cuts, least: 2 * s, most: 6 * s, fault: "node off the network"},
		{kind: halfOpen, lane: cuts, least: 2 * s, most: 4 * s, fault: "half-open connection"},

		{kind: killNode, lane: nodes, least: s / 2, most: 3 * s, fault: "crash"},
		{kind: killLeader, lane: nodes, least: s / 2, most: 3 * s, fault: "crash"},
		{kind: killMinority, lane: nodes, least: s / 2, most: 3 * s, fault: "crash"},
		{kind: killAll, lane: nodes, least: s / 2, most: 2 * s, fault: "crash of all nodes"},
		{kind: stopNode, lane: nodes, least: s, most: 5 * s, fault: "node stopped for a while"},
		{kind: stopLeader, lane: nodes, least: s, most: 5 * s, fault: "node stopped for a while"},
		{kind: slowDisk, lane: nodes, least: 3 * s, most: 6 * s, fault: "slow disk"},
		{kind: hungDisk, lane: nodes, least: 2 * s, most: 5 * s, fault: "hung disk"},
		{kind: fullDisk, lane: nodes, least: 3 * s, most: 6 * s, fault: "disk full"},
		{kind: powerCut, lane: nodes, least: s / 2, most: 2 * s, fault: "power cut of a node"},
		{kind: powerCutAll, lane: nodes, least: s / 2, most: s, fault: "power cut of all nodes"},

		{kind: stopHolder, lane: others, least: 4 * s, most: 6 * s, fault: "client stopped for a while"},
		{kind: killHolder, lane: others, least: s / 2, most: 2 * s, fault: "client killed"},
		{kind: wallNode, lane: others, least: 2 * s, most: 5 * s, fault: "wall clock jumps"},
		{kind: wallClient, lane: others, least: 2 * s, most: 5 * s, fault: "wall clock jumps"},
		{kind: jumpNode, lane: others, least: 4 * s, most: 5 * s, fault: "monotonic clock jumps", leadersSkewed: true},
		{kind: jumpClient, lane: others, least: 2 * s, most: 4 * s, fault: "monotonic clock jumps"},
		{kind: driftNode, lane: others, least: 4 * s, most: 8 * s, fault: "clock drifts"},
		{kind: driftClient, lane: others, least: 4 * s, most: 8 * s, fault: "clock drifts"},
		{kind: driftBeyond, lane: others, least: 4 * s, most: 8 * s, fault: "clock drifts", beyond: true, leadersSkewed: true},
	}
}

// of returns the kinds of a lane.
func (l lane) of() []kindInfo {
	return slices.DeleteFunc(kinds(), func(k kindInfo) bool { return k.lane != l })
}

// info returns what is said of a kind.
func (k kind) info() kindInfo {
	all := kinds()
	return all[slices.IndexFunc(all, func(i kindInfo) bool { return i.kind == k })]
}
