{{/*
The pod template of a half. Parameters: root, and half (both, controllers or proxy).
*/}}
{{- define "usher.pod" -}}
{{- $values := .root.Values -}}
{{- $forwards := ne .half "controllers" -}}
{{- $hostNetwork := and $forwards (eq $values.network "HostNetwork") -}}
{{- /* What places a pod: the values of the controllers' own Deployment, or those of the pods that forward. */ -}}
{{- $placement := ternary $values (default dict $values.controller) $forwards -}}
metadata:
  labels:
    {{- include "usher.selector" . | nindent 4 }}
    {{- with merge dict (default dict $values.podLabels) (default dict $values.commonLabels) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "usher.name" . }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $hostNetwork }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  terminationGracePeriodSeconds: {{ add 30 (ternary $values.proxy.drainSeconds 0 $forwards) }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    fsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: usher
      image: {{ include "usher.image" .root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        {{- include "usher.args" . | nindent 8 }}
      {{- with $values.extraEnv }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- /*
      On the host's network no port is declared, since each one would be a host port: during an upgrade the scheduler could
      not place the new pod on the node of the old one. usher itself checks whether another process uses the port: --self-check.
      */}}
      {{- if not $hostNetwork }}
      ports:
        {{- include "usher.ports" . | nindent 8 }}
      {{- end }}
      {{- if and $forwards (eq $values.network "LoadBalancer") }}
      lifecycle:
        preStop:
          # The pod continues to listen until every node has removed it from the Service.
          sleep:
            seconds: 5
      {{- end }}
      livenessProbe:
        httpGet:
          path: /healthz
          {{- include "usher.probed" . | nindent 10 }}
        periodSeconds: 10
      readinessProbe:
        httpGet:
          path: /readyz
          {{- include "usher.probed" . | nindent 10 }}
        periodSeconds: 2
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
          # The binary has this as a file capability: without it in this list the
          # kernel refuses to start the binary, even if it needs no low port.
          add: [NET_BIND_SERVICE]
      resources:
        {{- toYaml (default $values.resources $placement.resources) | nindent 8 }}
      {{- if $forwards }}
      volumeMounts:
        - name: state
          mountPath: /var/lib/usher
      {{- end }}
  {{- if $forwards }}
  volumes:
    # The snapshot of the routing table, and the history of what was public.
    - name: state
      {{- with $values.proxy.state }}
      {{- if and .hostPath .claim }}
      {{- fail "proxy.state.hostPath and proxy.state.claim are both set: remove one" }}
      {{- end }}
      {{- if .hostPath }}
      hostPath:
        path: {{ .hostPath | quote }}
        type: Directory
      {{- else if .claim }}
      persistentVolumeClaim:
        claimName: {{ .claim }}
      {{- else }}
      emptyDir: {}
      {{- end }}
      {{- end }}
  {{- end }}
  {{- with $placement.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $placement.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $placement.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $placement.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ merge dict . (dict "labelSelector" (dict "matchLabels" (include "usher.selector" $ | fromYaml))) | toYaml | nindent 6 | trim }}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* The command line of a half. */}}
{{- define "usher.args" -}}
{{- $values := .root.Values -}}
{{- $controller := default dict $values.controller -}}
{{- $root := .root -}}
- run
{{- if eq .half "controllers" }}
- --proxy=false
{{- end }}
{{- if eq .half "proxy" }}
- --controllers=false
{{- end }}
{{- if and (ne .half "proxy") (gt (int $values.replicas) 1) }}
- --leader-elect
{{- end }}
{{- if ne .half "proxy" }}
- --handover-grace={{ $values.handoverGraceSeconds }}s
{{- include "usher.dnsArgs" (default dict $values.dns) }}
{{- end }}
- --admin-listen={{ include "usher.adminListen" . }}
{{- with $values.adminAuth }}
{{- if ne . "none" }}
- --admin-auth={{ . }}
{{- end }}
{{- end }}
{{- with $values.adminHosts }}
- --admin-host={{ join "," . }}
{{- end }}
- --log-level={{ coalesce (eq .half "controllers" | ternary $controller.logLevel "") $values.logLevel "info" }}
{{- /* The controllers need only the names: the status of a host says which of its ports nobody listens on. */}}
{{- range $name, $tls := $values.tlsPorts }}
- --tls-listen={{ $name }}={{ include "usher.listen" (dict "root" $root "port" $tls.port) }}
{{- end }}
{{- if ne .half "controllers" }}
{{- $ports := list (toString $values.proxy.httpsPort) (toString $values.proxy.httpPort) (include "usher.adminListen" . | splitList ":" | last) }}
{{- range $values.tlsPorts }}
{{- $ports = append $ports (toString .port) }}
{{- end }}
{{- if ne (len (uniq $ports)) (len $ports) }}
{{- fail (printf "proxy.httpsPort, proxy.httpPort, adminListen and tlsPorts need a port each, and are %s" (join ", " $ports)) }}
{{- end }}
- --https-listen={{ include "usher.listen" (dict "root" .root "port" $values.proxy.httpsPort) }}
- --http-listen={{ include "usher.listen" (dict "root" .root "port" $values.proxy.httpPort) }}
- --drain-timeout={{ $values.proxy.drainSeconds }}s
- --state-dir=/var/lib/usher
{{- if $values.proxy.accessLog }}
- --access-log
{{- end }}
{{- if $values.proxy.accessLogRefused }}
- --access-log-refused
{{- end }}
{{- /* In its own network a pod always reaches itself, even if another process uses the node's port. */}}
{{- if ne $values.network "HostNetwork" }}
- --self-check=off
{{- end }}
{{- with $values.proxy.proxyProtocolFrom }}
- --proxy-protocol-from={{ join "," . }}
{{- end }}
{{- range $values.proxy.extraArgs }}
- {{ quote . }}
{{- end }}
{{- end }}
{{- if ne .half "proxy" }}
{{- range $controller.extraArgs }}
- {{ quote . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The flags about DNS records. */}}
{{- define "usher.dnsArgs" -}}
{{- with .target }}
- --dns-target={{ join "," . }}
{{- end }}
{{- with .internalTarget }}
- --dns-internal-target={{ join "," . }}
{{- end }}
{{- with .ttl }}
- --dns-ttl={{ int . }}
{{- end }}
{{- range $name, $value := .properties }}
- {{ printf "--dns-property=%s=%s" $name $value | quote }}
{{- end }}
{{- with .resolver }}
- --dns-resolver={{ . }}
{{- end }}
{{- end -}}

{{/* The addresses for a port of the proxy. A pod with its own network has the addresses of Kubernetes. Parameters: root and port. */}}
{{- define "usher.listen" -}}
{{- $port := .port -}}
{{- $listen := list -}}
{{- range ternary (default (list "") .root.Values.proxy.listenAddresses) (list "") (eq .root.Values.network "HostNetwork") -}}
{{- $listen = append $listen (printf "%s:%v" (ternary (printf "[%s]" .) . (contains ":" .)) $port) -}}
{{- end -}}
{{- join "," $listen -}}
{{- end -}}

{{/* The proxy's ports: name → number. */}}
{{- define "usher.proxyPorts" -}}
https: {{ .Values.proxy.httpsPort }}
http: {{ .Values.proxy.httpPort }}
{{- range $name, $tls := .Values.tlsPorts }}
{{ quote $name }}: {{ $tls.port }}
{{- end }}
{{- end -}}

{{/* The declared ports of a pod with its own network. */}}
{{- define "usher.ports" -}}
{{- $values := .root.Values -}}
{{- $forwards := ne .half "controllers" -}}
- name: admin
  containerPort: {{ include "usher.adminListen" . | splitList ":" | last }}
{{- if $forwards }}
{{- range $name, $port := include "usher.proxyPorts" .root | fromYaml }}
- name: {{ quote $name }}
  containerPort: {{ $port }}
  {{- if eq $values.network "HostPort" }}
  hostPort: {{ $port }}
  {{- range $values.proxy.listenAddresses }}
  hostIP: {{ quote . }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The host and port of probes: the host is set only if the admin listener has an IP address. */}}
{{- define "usher.probed" -}}
{{- $listen := include "usher.adminListen" . -}}
{{- $port := $listen | splitList ":" | last -}}
{{- $host := trimSuffix (printf ":%s" $port) $listen -}}
{{- if not (has $host (list "" "0.0.0.0" "[::]")) -}}
host: {{ $host | quote }}
{{ end -}}
port: {{ $port }}
{{- end -}}
