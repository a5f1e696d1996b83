{{/*
The pod template of a half. Takes root and half: both, controllers or proxy.
*/}}
{{- define "usher.pod" -}}
{{- $values := .root.Values -}}
{{- $forwards := ne .half "controllers" -}}
{{- $hostNetwork := and $forwards (eq $values.network "HostNetwork") -}}
metadata:
  labels:
    {{- include "usher.selector" . | nindent 4 }}
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
      {{- /*
      On the host's network no port is declared, since each one would be a host port: the scheduler would refuse the new
      pod of an upgrade beside the old one. usher finds out itself who else has the port: --self-check.
      */}}
      {{- if not $hostNetwork }}
      ports:
        {{- include "usher.ports" . | nindent 8 }}
      {{- end }}
      {{- if and $forwards (eq $values.network "LoadBalancer") }}
      lifecycle:
        preStop:
          # The pod listens on until every node's Service has forgotten it.
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
          # The binary has this as a file capability: without it here the kernel
          # would not start it, whatever ports it listens on.
          add: [NET_BIND_SERVICE]
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      {{- if $forwards }}
      volumeMounts:
        - name: state
          mountPath: /var/lib/usher
      {{- end }}
  {{- if $forwards }}
  volumes:
    # The routing table's snapshot. It outlives the container, and the node's restart.
    - name: state
      emptyDir: {}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* The command line of a half. */}}
{{- define "usher.args" -}}
{{- $values := .root.Values -}}
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
{{- end }}
- --admin-listen={{ include "usher.adminListen" . }}
{{- if ne .half "controllers" }}
{{- $ports := list (toString $values.proxy.httpsPort) (toString $values.proxy.httpPort) (include "usher.adminListen" . | splitList ":" | last) }}
{{- if ne (len (uniq $ports)) 3 }}
{{- fail (printf "proxy.httpsPort, proxy.httpPort and adminListen need a port each, and are %s" (join ", " $ports)) }}
{{- end }}
- --https-listen=:{{ $values.proxy.httpsPort }}
- --http-listen=:{{ $values.proxy.httpPort }}
- --drain-timeout={{ $values.proxy.drainSeconds }}s
- --state-dir=/var/lib/usher
{{- /* In a network of its own a pod reaches itself, even if another process has the node's port. */}}
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
{{- end -}}

{{/* The declared ports of a pod with a network of its own. */}}
{{- define "usher.ports" -}}
{{- $values := .root.Values -}}
{{- $forwards := ne .half "controllers" -}}
- name: admin
  containerPort: {{ include "usher.adminListen" . | splitList ":" | last }}
{{- if $forwards }}
{{- range $name, $port := dict "https" $values.proxy.httpsPort "http" $values.proxy.httpPort }}
- name: {{ $name }}
  containerPort: {{ $port }}
  {{- if eq $values.network "HostPort" }}
  hostPort: {{ $port }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where probes ask: the admin listener's own address where it is not every address. */}}
{{- define "usher.probed" -}}
{{- $listen := include "usher.adminListen" . -}}
{{- $port := $listen | splitList ":" | last -}}
{{- $host := trimSuffix (printf ":%s" $port) $listen -}}
{{- if not (has $host (list "" "0.0.0.0" "[::]")) -}}
host: {{ $host | quote }}
{{ end -}}
port: {{ $port }}
{{- end -}}
