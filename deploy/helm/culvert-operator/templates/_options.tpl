{{- /* Written by `deno task generate` from lib/config/tables/. */}}

{{- /* Arguments for values that are options as they are. A null leaves the program's default, and
extraArgs, which name an option themselves, win. */}}
{{- define "culvert-operator.options" -}}
{{- $extraArgs := .Values.extraArgs }}
{{- range list
  (list "watch-namespaces" .Values.watchNamespaces)
  (list "agent-cluster-roles" .Values.agentClusterRoles)
  (list "controllers" .Values.controllers)
  (list "id-prefix" .Values.idPrefix)
  (list "resync" .Values.resync)
  (list "relay-admin-url" .Values.relayAdminUrl)
  (list "relay-secret" .Values.relaySecret)
  (list "relay-selector" .Values.relaySelector)
  (list "argocd-server" .Values.argocdServer)
  (list "argocd-namespaces" .Values.argocdNamespaces)
  (list "cluster-profile-namespaces" .Values.clusterProfileNamespaces)
  (list "log-level" .Values.logLevel)
  (list "log-format" .Values.logFormat)
}}
{{- $option := index . 0 }}
{{- $value := index . 1 }}
{{- $isGiven := not (kindIs "invalid" $value) }}
{{- range $extraArgs }}
{{- if regexMatch (printf "^--?%s(=|$)" $option) . }}
{{- $isGiven = false }}
{{- end }}
{{- end }}
{{- if $isGiven }}
{{- $text := toString $value }}
{{- if kindIs "slice" $value }}
{{- $text = join "," $value }}
{{- else if and (kindIs "float64" $value) (eq (floor $value) (float64 $value)) }}
{{- /* Helm reads a large whole number as 1.048576e+06. */}}
{{- $text = printf "%.0f" (float64 $value) }}
{{- end }}
- {{ printf "--%s=%s" $option $text | quote }}
{{- end }}
{{- end }}
{{- end }}
