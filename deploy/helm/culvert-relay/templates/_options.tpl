{{- /* Written by `deno task generate` from lib/config/tables/. */}}

{{- /* Arguments for values that are options as they are. A null leaves the program's default, and
extraArgs, which name an option themselves, win. */}}
{{- define "culvert-relay.options" -}}
{{- $extraArgs := .Values.extraArgs }}
{{- range list
  (list "trusted-proxies" .Values.trustedProxies)
  (list "proxy-protocol" .Values.proxyProtocol)
  (list "workers" .Values.workers)
  (list "rate-limit" .Values.rateLimit)
  (list "cluster-rate-limit" .Values.clusterRateLimit)
  (list "max-requests" .Values.maxRequests)
  (list "cluster-max-requests" .Values.clusterMaxRequests)
  (list "bandwidth" .Values.bandwidth)
  (list "cluster-bandwidth" .Values.clusterBandwidth)
  (list "max-streams" .Values.maxStreams)
  (list "max-connections" .Values.maxConnections)
  (list "max-connections-per-address" .Values.maxConnectionsPerAddress)
  (list "max-header-bytes" .Values.maxHeaderBytes)
  (list "max-body-bytes" .Values.maxBodyBytes)
  (list "response-timeout" .Values.responseTimeout)
  (list "header-timeout" .Values.headerTimeout)
  (list "idle-timeout" .Values.idleTimeout)
  (list "grace" .Values.grace)
  (list "audit-log" .Values.auditLog)
  (list "audit-fail" .Values.auditFail)
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
