{{/* What the schema can't say: values that are missing or contradict each other. */}}
{{- define "culvert-agent.validate" -}}
{{- $problems := list }}
{{- $fullAccess := `[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]},{"nonResourceURLs":["*"],"verbs":["*"]}]` }}
{{- with .Values }}

{{- if not .serverURL }}
{{- $problems = append $problems "serverURL is missing: the relay's public listener, wss://HOST[:PORT]/connect" }}
{{- else if and (hasPrefix "ws://" .serverURL) (not .allowInsecureServer) }}
{{- $problems = append $problems (printf "serverURL is %s, and ws:// exposes the token to the network: use wss://, or for tests allowInsecureServer=true" .serverURL) }}
{{- end }}
{{- if and (hasPrefix "ws://" .serverURL) (or .tls.serverCASecret .tls.clientCertSecret) }}
{{- $problems = append $problems "tls.serverCASecret and tls.clientCertSecret have no effect with ws://: use wss://, or remove them" }}
{{- end }}
{{- if and .token .existingSecret }}
{{- $problems = append $problems "token and existingSecret are both set: use one" }}
{{- else if not (or .token .existingSecret) }}
{{- $problems = append $problems "token is missing: set existingSecret to the name of a Secret with the key \"token\", or token to the token itself" }}
{{- end }}

{{- if and .targets (or .plainTarget .insecure .targetCASecret .targetServerName) }}
{{- $problems = append $problems "targets is set, so plainTarget, insecure, targetCASecret and targetServerName have no effect: give each target its own tls" }}
{{- end }}
{{- if and .targets (ne .targetAddr "kubernetes.default.svc:443") }}
{{- $problems = append $problems "targets is set, so targetAddr has no effect: make it an entry of targets" }}
{{- end }}
{{- $names := dict }}
{{- range $index, $target := .targets }}
{{- if hasKey $names $target.name }}
{{- $problems = append $problems (printf "targets[%d].name is %q, which is also another entry's: names must differ" $index $target.name) }}
{{- end }}
{{- $_ := set $names $target.name true }}
{{- range $path := list (dig "credential" "file" "" $target) (dig "tls" "ca" "" $target) (dig "tls" "cert" "" $target) (dig "tls" "key" "" $target) }}
{{- $secret := regexFind "^/etc/culvert/secrets/[^/]+/" $path | trimPrefix "/etc/culvert/secrets/" | trimSuffix "/" }}
{{- if and $secret (not (has $secret $.Values.targetSecrets)) }}
{{- $problems = append $problems (printf "targets[%d] (%s) needs the Secret %s: add it to targetSecrets" $index $target.name $secret) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $index, $hostname := .hostnames }}
{{- $target := regexFind "=.*$" $hostname | trimPrefix "=" }}
{{- if and $.Values.targets $target (not (hasKey $names $target)) }}
{{- $problems = append $problems (printf "hostnames[%d] is for the target %s, which is not in targets" $index $target) }}
{{- end }}
{{- end }}
{{- if and .plainTarget (or .insecure .targetCASecret) }}
{{- $problems = append $problems "plainTarget is true, so insecure and targetCASecret have no effect: remove them" }}
{{- end }}
{{- if and .insecure .targetCASecret }}
{{- $problems = append $problems "insecure is true, so targetCASecret has no effect: use one" }}
{{- end }}
{{- if and .proxy.url .proxy.existingSecret }}
{{- $problems = append $problems "proxy.url and proxy.existingSecret are both set: use one" }}
{{- end }}

{{- with .rbac }}
{{- if and .readOnly .clusterRole }}
{{- $problems = append $problems "rbac.readOnly and rbac.clusterRole are both set: use one" }}
{{- end }}
{{- if and (or .readOnly .clusterRole) (ne (toJson .rules) $fullAccess) }}
{{- $problems = append $problems (printf "rbac.rules is set, but %s takes precedence: use one" (ternary "rbac.readOnly" "rbac.clusterRole" .readOnly)) }}
{{- end }}
{{- if and .impersonate.enabled (not .readOnly) (not .clusterRole) (eq (toJson .rules) $fullAccess) }}
{{- $problems = append $problems "rbac.impersonate is enabled, but rbac.rules let the agent do everything by itself: set rbac.rules, to [] if all its targets at the API server impersonate" }}
{{- end }}
{{- range concat .impersonate.groups .impersonate.users }}
{{- if hasPrefix "system:" . }}
{{- $problems = append $problems (printf "rbac.impersonate names %s: agents impersonate nobody whose name begins with system:" .) }}
{{- end }}
{{- end }}
{{- if and (not .impersonate.enabled) (or .impersonate.groups .impersonate.users .impersonate.limitTo) }}
{{- $problems = append $problems "rbac.impersonate has groups, users or limitTo, but is not enabled: set rbac.impersonate.enabled=true" }}
{{- end }}
{{- if and .clusterWide .namespaces }}
{{- $problems = append $problems "rbac.namespaces is set, but rbac.clusterWide is true: set rbac.clusterWide=false" }}
{{- end }}
{{- end }}

{{- if and (not (include "culvert-agent.seconds" .grace)) (kindIs "invalid" .terminationGracePeriodSeconds) }}
{{- $problems = append $problems (printf "terminationGracePeriodSeconds is missing: it cannot be derived from grace=%s; give one that is longer" .grace) }}
{{- end }}
{{- if and (eq (int .healthPort) 0) .metrics.serviceMonitor.enabled }}
{{- $problems = append $problems "metrics.serviceMonitor.enabled needs a healthPort" }}
{{- end }}

{{- end }}
{{- with $problems }}
{{- fail (printf "\n\nculvert-agent can't be installed with these values:\n  - %s\n" (join "\n  - " .)) }}
{{- end }}
{{- end }}
