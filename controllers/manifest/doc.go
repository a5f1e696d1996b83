// Package manifest reads ExposedHosts and MemberClusters from files, and writes
// them: the directory that --manifests names, and the snapshot from which usher
// serves when it starts and there is no API server to ask. Both hold the same
// objects in the same words, so one reader serves both, and a snapshot can be
// put into a --manifests directory as it is.
//
// A manifest is validated by the rules of the CustomResourceDefinitions, with the
// API server's own code. What passes is accepted: there is nobody to decide. An
// ExposedHost whose file says Accepted=False, as one that was copied from a
// cluster may, stays refused.
//
// A snapshot is validated by its checksum alone, since the API server has validated its
// objects already, perhaps by the rules of an older usher.
//
// A file of the directory is taken or refused as a whole. What is refused keeps its
// last good state, in memory and, where there is a state directory, on disk. Check
// runs the same code over a directory once, for usher check.
//
// The package must not import Kubernetes clients, nor anything of proxy but
// proxy/routing.
package manifest
