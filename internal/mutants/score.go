package main

import (
	"fmt"
	"path"
	"slices"

	"github.com/lockd/lockd/internal/reliability"
)

// scores tells for each table, of which all mutants were chosen, how many each layer of tests has caught.
func scores(all, chosen []mutant, results []result) []reliability.Run {
	left := map[string]int{} // of each table, how many were not chosen
	for _, m := range all {
		left[m.table]++
	}
	for _, m := range chosen {
		left[m.table]--
	}
	var runs []reliability.Run
	for i, m := range chosen {
		if left[m.table] > 0 {
			continue
		}
		k := slices.IndexFunc(runs, func(r reliability.Run) bool { return r.Package == m.table && r.Layer == m.layer() })
		if k < 0 {
			k = len(runs)
			runs = append(runs, reliability.Run{
				Target: "mutants", Layer: m.layer(), Fault: reliability.PlantedBug, Package: m.table, Runs: 1,
				Command: fmt.Sprintf("go run ./internal/mutants -table %s", m.table),
			})
		}
		runs[k].Injections++
		if results[i].outcome == caught {
			runs[k].Caught++
		}
	}
	return runs
}

// layer is that of the test which must find the mutant.
func (m mutant) layer() string {
	simulators := map[string]string{"raft/rafttest": "raft-sim", "internal/simproto": "protocol-sim", "internal/sim": "sim"}
	for _, word := range m.test {
		if layer, ok := simulators[path.Clean(word)]; ok {
			return layer
		}
	}
	return "unit"
}
