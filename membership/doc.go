// Package membership lets the nodes of a cluster find each other and notice who is gone, by SWIM gossip (Das, Gupta, Motivala: SWIM,
// 2002, with the Lifeguard extensions of Dadgar, Phillips, Currey, 2017) as hashicorp/memberlist implements it. Nothing else knows
// memberlist.
//
// Gossip is a source of addresses and of hints, never of decisions: what it says changes neither the Raft configuration nor any lock.
// Its messages are authenticated by one key that all nodes share (see [Keyring]), so whoever has the key can pretend to be a node;
// the Raft port, with certificates, is where a node proves who it is.
//
// The package has three parts that share only this documentation:
//
//   - [Gossip]: the members as this node sees them, their [Meta], failure hints, a loop that joins again whoever was lost, and the
//     rotation of keys.
//   - [Advise]: autopilot, a pure function from what a leader knows of its servers to what it should do next.
//   - [CheckQuorum]: whether a change of the voters leaves a majority that lives, with the arithmetic.
package membership
