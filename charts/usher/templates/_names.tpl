{{/* The name of the release's objects: the release's name if it contains "usher", else RELEASE-usher. */}}
{{- define "usher.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a half's workload and ServiceAccount. Parameters: root, and half (both, controllers or proxy). */}}
{{- define "usher.name" -}}
{{- $suffix := dict "both" "" "controllers" "-controller" "proxy" "-proxy" -}}
{{- include "usher.fullname" .root }}{{ get $suffix .half -}}
{{- end -}}

{{/* Labels that select the pods of a half. Parameters: root and half. */}}
{{- define "usher.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .half }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "usher.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The half with the control plane, and the half with the data plane, in this mode. */}}
{{- define "usher.decides" -}}{{ ternary "controllers" "both" (eq .Values.mode "split") }}{{- end -}}
{{- define "usher.forwards" -}}{{ ternary "proxy" "both" (eq .Values.mode "split") }}{{- end -}}

{{/* The image, by tag or digest. */}}
{{- define "usher.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{ .Values.image.repository }}{{ ternary "@" ":" (hasPrefix "sha256:" $tag) }}{{ $tag }}
{{- end -}}

{{/* The address of a half for health and metrics. Only on the host's network it may be reachable from the internet. Parameters: root and half. */}}
{{- define "usher.adminListen" -}}
{{- $values := .root.Values -}}
{{- if and (eq $values.network "HostNetwork") (ne .half "controllers") -}}
{{- default "127.0.0.1:8080" $values.adminListen -}}
{{- else -}}
:{{ default ":8080" $values.adminListen | splitList ":" | last }}
{{- end -}}
{{- end -}}

{{/*
Running pods of others that use one of the proxy's ports on their node: the field `pods`, each with the
fields `said`, `node` and `serviceLB`. With a Service only pods of K3s' ServiceLB count, since ServiceLB
needs the ports for usher's Service, unless that has another class. There are none if Helm has no
cluster, as in helm template.
*/}}
{{- define "usher.takers" -}}
{{- $ours := list -}}
{{- range include "usher.proxyPorts" . | fromYaml -}}
{{- $ours = append $ours (int .) -}}
{{- end -}}
{{- $service := printf "%s/%s" .Release.Namespace (include "usher.name" (dict "root" . "half" (include "usher.forwards" .))) -}}
{{- $takers := list -}}
{{- range $pod := (lookup "v1" "Pod" "" "").items -}}
  {{- $labels := default dict $pod.metadata.labels -}}
  {{- $balanced := get $labels "svccontroller.k3s.cattle.io/svcname" -}}
  {{- $own := and (eq (get $labels "app.kubernetes.io/name") $.Chart.Name) (eq $pod.metadata.namespace $.Release.Namespace) -}}
  {{- if $balanced -}}
    {{- $own = eq $service (printf "%s/%s" (get $labels "svccontroller.k3s.cattle.io/svcnamespace") $balanced) -}}
  {{- end -}}
  {{- $taken := list -}}
  {{- range $container := $pod.spec.containers -}}
    {{- range $container.ports -}}
      {{- if and (has (int .hostPort) $ours) (eq .protocol "TCP") }}{{ $taken = append $taken (int .hostPort) }}{{ end -}}
    {{- end -}}
  {{- end -}}
  {{- if and $taken (not $own) (eq (default "" $pod.status.phase) "Running") (or (ne $.Values.network "LoadBalancer") (and $balanced (not $.Values.service.loadBalancerClass))) -}}
    {{- $said := printf "  %s/%s on node %s: port %s" $pod.metadata.namespace $pod.metadata.name $pod.spec.nodeName (uniq $taken | join ", ") -}}
    {{- $takers = append $takers (dict "said" $said "node" $pod.spec.nodeName "serviceLB" (not (empty $balanced))) -}}
  {{- end -}}
{{- end -}}
{{- dict "pods" $takers | toYaml -}}
{{- end -}}

{{/* The pods of usher.takers, one per line. */}}
{{- define "usher.portTakers" -}}
{{- $lines := list -}}
{{- range (include "usher.takers" . | fromYaml).pods -}}
{{- $lines = append $lines .said -}}
{{- end -}}
{{- $lines | sortAlpha | join "\n" -}}
{{- end -}}

{{/* Whether usher reads the ingresses of the edge cluster itself: "true" or empty. */}}
{{- define "usher.edgeIsMember" -}}
{{- $isMember := .Values.edgeIsMember -}}
{{- range .Values.clusters -}}
{{- if not (or .kubeconfigSecret .traefik) }}{{ $isMember = true }}{{ end -}}
{{- end -}}
{{- if $isMember }}true{{ end -}}
{{- end -}}
