#!/usr/bin/env bash
# Runs a Kubernetes of one node in namespaces of its own. Package node writes this file and
# all that it reads into a folder, and starts it there:
#
#   node.sh join    joins the node's cgroups, makes the namespaces, and goes on inside them
#   node.sh init    is PID 1 of the node, whose end is the end of every process, mount and
#                   interface in it
set -euo pipefail
cd "$(dirname "$0")"
dir=$PWD
node_ip=10.99.0.1 service_ips=10.96.0.0/16 # as in node.go; the pods' are in conf/

join() {
	while read -r cgroup; do echo $$ >"$cgroup/cgroup.procs"; done <cgroups
	exec nice -n 5 unshare --net --mount --ipc --uts --cgroup --pid --fork --kill-child --mount-proc "$dir/node.sh" init
}

# start NAME COMMAND... runs a daemon, with which the node ends.
start() {
	local name=$1
	shift
	("$@" >"log/$name.log" 2>&1 || rc=$?; echo "$name ended with ${rc:-0}"; kill -TERM 1) &
}

# await SECONDS COMMAND... repeats a command until it succeeds.
await() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || { echo "gave up: $*"; exit 1; }
		sleep 0.2
	done
}

# Every default path is in a /run and a /var of the node's own.
mounts() {
	mount -n -t tmpfs -o mode=755 tmpfs /run
	mount --bind "$dir/var" /var
	mount --make-rshared / # in this mount namespace, for the kubelet's volumes
	mount -t sysfs sysfs /sys
	mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
	local controllers options
	while IFS=: read -r _ controllers _; do
		[ -n "$controllers" ] || continue
		options=$controllers
		[[ $controllers != name=* ]] || options=none,$controllers
		mkdir "/sys/fs/cgroup/${controllers#name=}"
		mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/${controllers#name=}"
	done </proc/self/cgroup
	mkdir -p /run/cni /run/sysctl /run/netns /run/containerd /var/lib/kubelet
	cp conf/10-pods.conflist /run/cni/
}

# The kubelet insists on settings that are the whole machine's. It finds them set, and the
# machine stays as it is.
settings() {
	local setting file
	for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
		kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
		file=/run/sysctl/$(basename "${setting%=*}")
		echo "${setting#*=}" >"$file"
		mount --bind "$file" "/proc/sys/${setting%=*}"
	done
}

# Loopback carries the node's address. There is no way out of this network namespace.
network() {
	ip link set lo up
	ip address add "$node_ip/32" dev lo
	ip route add "$service_ips" dev lo src "$node_ip" # a service's address needs a route before it is translated
	echo 1 >/proc/sys/net/ipv4/ip_forward
}

control_plane() {
	start etcd bin/etcd --unsafe-no-fsync --data-dir="$dir/etcd" --log-level=warn
	start kube-apiserver bin/kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
		--bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$node_ip" --service-cluster-ip-range="$service_ips" \
		--authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
		--token-auth-file=pki/tokens.csv --tls-cert-file=pki/server.crt --tls-private-key-file=pki/server.key \
		--service-account-issuer=https://kubernetes.default.svc --service-account-key-file=pki/serviceaccount.key \
		--service-account-signing-key-file=pki/serviceaccount.key --kubelet-preferred-address-types=InternalIP
	await 90 kubectl get --raw /readyz
	start kube-controller-manager bin/kube-controller-manager --kubeconfig=pki/kube-controller-manager.kubeconfig \
		--leader-elect=false --bind-address=127.0.0.1 --use-service-account-credentials \
		--service-account-private-key-file=pki/serviceaccount.key --root-ca-file=pki/server.crt \
		--flex-volume-plugin-dir=/var/lib/kubelet/plugins-exec
	start kube-scheduler bin/kube-scheduler --kubeconfig=pki/kube-scheduler.kubeconfig --leader-elect=false --bind-address=127.0.0.1
}

kubectl() { bin/kubectl --kubeconfig=pki/admin.kubeconfig "$@"; }

init() {
	trap 'exit 1' TERM
	hostname edge
	mounts
	settings
	network
	start containerd containerd --config=conf/containerd.toml
	control_plane
	await 30 ctr version
	for image in images/*.tar; do ctr --namespace=k8s.io images import "$image"; done
	start kubelet bin/kubelet --config=conf/kubelet.yaml --kubeconfig=pki/kubelet.kubeconfig --hostname-override=edge --node-ip="$node_ip"
	start kube-proxy bin/kube-proxy --config=conf/kube-proxy.yaml --hostname-override=edge
	await 90 kubectl wait --for=condition=Ready node/edge --timeout=1s
	await 30 kubectl get serviceaccount default
	touch ready
	wait
}

"$1"
