{{/* Refuses values that would have no effect or could not work. The schema refuses what is wrong by itself. */}}
{{- define "usher.refusals" -}}
{{- $values := .Values -}}
{{- if and $values.service.loadBalancerSourceRanges (ne $values.network "LoadBalancer") }}
{{- fail (printf "service.loadBalancerSourceRanges needs network: LoadBalancer. With network: %s there is no Service, and every client would be admitted: use the annotation usher.techn.is/allow-from, or a firewall" $values.network) }}
{{- end }}
{{- $addresses := len (default list $values.proxy.listenAddresses) }}
{{- if and $addresses (eq $values.network "LoadBalancer") }}
{{- fail "proxy.listenAddresses needs an address of the node, and network: LoadBalancer has none: use service.annotations to choose an address of the load balancer" }}
{{- end }}
{{- if and (gt $addresses 1) (eq $values.network "HostPort") }}
{{- fail "proxy.listenAddresses has more than one address, and network: HostPort takes one, the hostIP: give one, or use network: HostNetwork" }}
{{- end }}
{{- if eq $values.mode "split" }}
{{- if $values.topologySpreadConstraints }}
{{- fail "topologySpreadConstraints needs mode: single. With mode: split a DaemonSet forwards, which has one pod on each of its nodes: for the controllers set controller.topologySpreadConstraints" }}
{{- end }}
{{- else }}
{{- range $name, $value := omit (default dict $values.controller) "extraArgs" }}
{{- if $value }}
{{- fail (printf "controller.%s needs mode: split. With mode: single the controllers have no pods of their own: set %s instead" $name $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" }}
{{- range $name := list "podLabels" "commonLabels" }}
{{- range $label, $_ := default dict (get $values $name) }}
{{- if has $label $own }}
{{- fail (printf "%s: the label %s is set by the chart, and selects pods or names the release: remove it" $name $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- include "usher.refuseServiceLB" . }}
{{- end -}}

{{/*
Refuses an installation that no client could reach: K3s' ServiceLB has a port of usher's on every node
that usher may use. Where another node may be free, NOTES.txt warns instead. An upgrade is not refused,
since it may be what helps.
*/}}
{{- define "usher.refuseServiceLB" -}}
{{- $onNode := ne .Values.network "LoadBalancer" -}}
{{- if and .Release.IsInstall (not (and $onNode .Values.affinity)) -}}
{{- $taken := dict -}}
{{- range (include "usher.takers" . | fromYaml).pods -}}
{{- if .serviceLB }}{{ $_ := set $taken .node .said }}{{ end -}}
{{- end -}}
{{- $free := empty $taken -}}
{{- $found := list -}}
{{- range $node := ternary (lookup "v1" "Node" "" "").items list (not $free) -}}
  {{- $candidate := true -}}
  {{- if $onNode -}}
    {{- range $key, $value := $.Values.nodeSelector -}}
      {{- if ne $value (get (default dict $node.metadata.labels) $key) }}{{ $candidate = false }}{{ end -}}
    {{- end -}}
  {{- end -}}
  {{- if and $candidate (hasKey $taken $node.metadata.name) -}}
    {{- $found = append $found (get $taken $node.metadata.name) -}}
  {{- else if $candidate -}}
    {{- $free = true -}}
  {{- end -}}
{{- end -}}
{{- if and $found (not $free) -}}
{{- fail (printf "K3s' ServiceLB has a port of usher's on every node that usher may use, so no client would reach usher:\n\n%s\n\nGive the other Service other ports, let usher use another node (nodeSelector), or start K3s with --disable=servicelb: docs/install.md, \"A K3s that keeps its Traefik\"" ($found | sortAlpha | join "\n")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
