package main

// mutant is a bug that somebody could have written.
type mutant struct {
	name  string
	file  string
	why   string // it is wrong
	test  string // that simulates it; default: the workload of etcd
	edits []edit
}

// edit replaces old, which must occur once.
type edit struct{ old, new string }

func (m mutant) workload() string {
	if m.test == "" {
		return "TestEtcdKeepsItsPromises"
	}
	return m.test
}

func one(old, new string) []edit { return []edit{{old, new}} }

var mutants = concat(ofClaims, ofWatching, ofLeases, ofWrites, ofConsumer, ofMemory, ofStates)

func concat(lists ...[]mutant) (all []mutant) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
