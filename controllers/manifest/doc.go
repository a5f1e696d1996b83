// Package manifest reads ExposedHosts, MemberClusters and NetworkLists from the files of
// the --manifests directory. It also reads and writes the snapshot, which usher serves
// after a start without an API server. Both have the same format: one reader is enough,
// and a snapshot can be put into a --manifests directory unchanged.
//
// A manifest is validated by the rules of the CustomResourceDefinitions, with the
// API server's own code. A valid ExposedHost is accepted, since there is no admission
// without controllers. It stays refused if its file says Accepted=False, as a copy from
// a cluster may.
//
// A snapshot is validated only by its checksum, since an API server has validated its
// objects already, perhaps by the rules of an older usher.
//
// A file of the directory is accepted or refused as a whole. A refused file keeps its
// last good state in memory and, if there is a state directory, on disk. Check
// runs the same code over a directory once, for usher check.
//
// The package must not import Kubernetes clients, nor anything of proxy but
// proxy/routing.
package manifest
