package node

import "testing"

// config/ is a whole installation too, and its removal removes all of it.
func TestKustomization(t *testing.T) {
	before := begin(t)
	kubectl(t, "apply", "--kustomize", "../../../config")
	t.Cleanup(func() {
		kubectl(t, "delete", "--kustomize", "../../../config")
		awaitAdded(t, before)
	})
	kubectl(t, "rollout", "status", "deployment/usher", "--namespace", namespace, "--timeout=4m")
	exposeAndAsk(t, hostPort(t))
}
