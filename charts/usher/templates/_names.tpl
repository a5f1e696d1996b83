{{/* The name of what the release makes: usher, or RELEASE-usher where the release is not called so. */}}
{{- define "usher.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The name of a half's workload and ServiceAccount. Takes root and half: both, controllers or proxy. */}}
{{- define "usher.name" -}}
{{- $suffix := dict "both" "" "controllers" "-controller" "proxy" "-proxy" -}}
{{- include "usher.fullname" .root }}{{ get $suffix .half -}}
{{- end -}}

{{/* Labels that select a half's pods. Takes root and half. */}}
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
{{- end -}}

{{/* The half that decides, and the half that forwards, in this mode. */}}
{{- define "usher.decides" -}}{{ ternary "controllers" "both" (eq .Values.mode "split") }}{{- end -}}
{{- define "usher.forwards" -}}{{ ternary "proxy" "both" (eq .Values.mode "split") }}{{- end -}}

{{/* The image, by tag or digest. */}}
{{- define "usher.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{ .Values.image.repository }}{{ ternary "@" ":" (hasPrefix "sha256:" $tag) }}{{ $tag }}
{{- end -}}

{{/* Where a half serves health and metrics. Only the host's network can be the internet's. Takes root and half. */}}
{{- define "usher.adminListen" -}}
{{- $values := .root.Values -}}
{{- if and (eq $values.network "HostNetwork") (ne .half "controllers") -}}
{{- default "127.0.0.1:8080" $values.adminListen -}}
{{- else -}}
:{{ default ":8080" $values.adminListen | splitList ":" | last }}
{{- end -}}
{{- end -}}

{{/* Whether the edge cluster's own ingresses are read: "true" or nothing. */}}
{{- define "usher.edgeIsMember" -}}
{{- $isMember := .Values.edgeIsMember -}}
{{- range .Values.clusters -}}
{{- if not .kubeconfigSecret }}{{ $isMember = true }}{{ end -}}
{{- end -}}
{{- if $isMember }}true{{ end -}}
{{- end -}}
