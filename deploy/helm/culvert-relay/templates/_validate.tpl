{{/* What the schema can't say: values that contradict each other. Each line names the value. */}}
{{- define "culvert-relay.validate" -}}
{{- $isMutual := include "culvert-relay.isMutual" . }}
{{- $callersShow := include "culvert-relay.callersShowCertificates" . }}
{{- $problems := list }}
{{- with .Values }}

{{- if and .tls.enabled (not .tls.certSecret) }}
{{- $problems = append $problems "tls.certSecret is missing: tls.enabled needs the name of a Secret with tls.crt and tls.key" }}
{{- end }}
{{- if not .tls.enabled }}
{{- if .tls.certSecret }}
{{- $problems = append $problems "tls.certSecret is set, but tls.enabled is false: set tls.enabled=true, or remove it" }}
{{- end }}
{{- if .tls.clientCASecret }}
{{- $problems = append $problems "tls.clientCASecret is set, but tls.enabled is false: mutual TLS needs tls.enabled=true and tls.certSecret" }}
{{- end }}
{{- if .callers.caSecret }}
{{- $problems = append $problems "callers.caSecret is set, but tls.enabled is false: callers' certificates need tls.enabled=true and tls.certSecret" }}
{{- end }}
{{- end }}

{{- $callers := .callers }}
{{- $isKnown := or $callers.tokens $callers.existingSecret $callers.certificates $callers.jwt.issuer }}
{{- if and $callers.certificates (not $callersShow) }}
{{- $problems = append $problems "callers.certificates needs mutual TLS: set tls.enabled, tls.certSecret, and tls.clientCASecret or callers.caSecret" }}
{{- end }}
{{- if and $callers.tokens $callers.existingSecret }}
{{- $problems = append $problems "callers.tokens and callers.existingSecret are both set: use one" }}
{{- end }}
{{- if and (eq $callers.mode "known") (not $isKnown) (not $callersShow) }}
{{- $problems = append $problems "callers.mode is known, but nobody is: set callers.tokens, callers.existingSecret, callers.certificates or callers.jwt" }}
{{- end }}
{{- if and (eq $callers.mode "open") $isKnown }}
{{- $problems = append $problems "callers.mode is open, but callers.tokens, existingSecret, certificates or jwt is set, which would not be asked for: set callers.mode=known, or remove them" }}
{{- end }}
{{- if and (not $callers.jwt.issuer) (or $callers.jwt.audience $callers.jwt.jwksUrl $callers.jwt.rules) }}
{{- $problems = append $problems "callers.jwt.issuer is missing: callers.jwt.audience, jwksUrl and rules belong to an issuer" }}
{{- end }}
{{- range $key, $value := omit $callers.jwt "issuer" }}
{{- if and $callers.jwt.issuer (not $value) }}
{{- $problems = append $problems (printf "callers.jwt.%s is missing: callers.jwt needs issuer, audience, jwksUrl and rules" $key) }}
{{- end }}
{{- end }}
{{- if and (not $callers.mode) (not $isKnown) (not $callersShow) (or .hostNetwork (not .networkPolicy.enabled)) }}
{{- $why := ternary "with hostNetwork, NetworkPolicies have no effect" "networkPolicy.enabled is false" .hostNetwork }}
{{- $problems = append $problems (printf "callers.mode is missing: %s, so whoever reaches the internal listener could use every cluster: turn on mutual TLS (tls.*), set callers.tokens, or say callers.mode=open" $why) }}
{{- end }}

{{- $hasDirectory := or .directory.url .directory.existingSecret }}
{{- if and .directory.url .directory.existingSecret }}
{{- $problems = append $problems "directory.url and directory.existingSecret are both set: use one" }}
{{- end }}
{{- if and (gt (int .replicas) 1) (not $hasDirectory) .readyWithoutAgents }}
{{- $problems = append $problems (printf "replicas is %d without a directory: a request would find its agent on one of them only; set directory.url, or replicas=1, or readyWithoutAgents=false with agents that connect to all of them" (int .replicas)) }}
{{- end }}
{{- if and .relayToken .relayTokenExistingSecret }}
{{- $problems = append $problems "relayToken and relayTokenExistingSecret are both set: use one" }}
{{- end }}
{{- if and $hasDirectory (not (or .relayToken .relayTokenExistingSecret)) }}
{{- $problems = append $problems "relayToken is missing: with a directory, replicas prove themselves to each other; set relayToken or relayTokenExistingSecret" }}
{{- end }}
{{- if and (not $hasDirectory) (or .relayToken .relayTokenExistingSecret) }}
{{- $problems = append $problems "relayToken is set without a directory: set directory.url, or remove it" }}
{{- end }}

{{- $ids := dict }}
{{- range $index, $cluster := .clusters }}
{{- if hasKey $ids $cluster.id }}
{{- $problems = append $problems (printf "clusters[%d].id is %q, which is also another entry's: ids must differ" $index $cluster.id) }}
{{- end }}
{{- $_ := set $ids $cluster.id true }}
{{- $secrets := list }}
{{- range $key := list "token" "tokenSha256" "tokens" }}
{{- if get $cluster $key }}{{ $secrets = append $secrets $key }}{{ end }}
{{- end }}
{{- if $.Values.existingClustersSecret.name }}
{{- if $secrets }}
{{- $problems = append $problems (printf "clusters[%d].%s is set with existingClustersSecret, which is used instead: leave id (and argocd) alone there" $index (first $secrets)) }}
{{- end }}
{{- else if ne (len $secrets) 1 }}
{{- $problems = append $problems (printf "clusters[%d] (%s) must have one of token, tokenSha256 and tokens, but has %s" $index $cluster.id (join " and " $secrets | default "none")) }}
{{- end }}
{{- if and $cluster.certificateName (not $isMutual) }}
{{- $problems = append $problems (printf "clusters[%d].certificateName needs mutual TLS: set tls.enabled, tls.certSecret and tls.clientCASecret" $index) }}
{{- end }}
{{- end }}

{{- if and .proxyProtocol (not .trustedProxies) }}
{{- $problems = append $problems "proxyProtocol needs trustedProxies: the addresses of the balancers that send its header" }}
{{- end }}

{{- with .argocd }}
{{- if and (or .caData .clientCertData) (not $.Values.tls.enabled) }}
{{- $problems = append $problems "argocd.caData or argocd.clientCertData is set, but tls.enabled is false: Argo CD would speak plain HTTP with the relay" }}
{{- end }}
{{- if ne (empty .clientCertData) (empty .clientKeyData) }}
{{- $problems = append $problems "argocd.clientCertData and argocd.clientKeyData go together: one of them is missing" }}
{{- end }}
{{- range $key := list "caData" "clientCertData" "clientKeyData" }}
{{- $data := get $.Values.argocd $key }}
{{- if and $data (not (contains "-----BEGIN " (b64dec $data))) }}
{{- $problems = append $problems (printf "argocd.%s must be the base64 of a PEM file: base64 -w0 FILE" $key) }}
{{- end }}
{{- end }}
{{- end }}

{{- $drainDelay := include "culvert-relay.drainDelay" $ }}
{{- if kindIs "invalid" .terminationGracePeriodSeconds }}
{{- range $key, $duration := dict "grace" .grace "drainDelay" $drainDelay }}
{{- if not (include "culvert-relay.seconds" $duration) }}
{{- $problems = append $problems (printf "terminationGracePeriodSeconds is missing: it can't be worked out from %s=%s; give one that is longer than grace and drainDelay" $key $duration) }}
{{- end }}
{{- end }}
{{- end }}
{{- $ports := dict }}
{{- range $key := list "port" "internalPort" "healthPort" }}
{{- $port := get $.Values $key | toString }}
{{- if hasKey $ports $port }}
{{- $problems = append $problems (printf "%s and %s are both %s: each listener needs its own" (get $ports $port) $key $port) }}
{{- end }}
{{- $_ := set $ports $port $key }}
{{- end }}

{{- if .gateway.enabled }}
{{- if and (eq .gateway.tlsMode "Passthrough") (not .tls.enabled) }}
{{- $problems = append $problems "gateway.tlsMode is Passthrough, but tls.enabled is false: nobody would speak TLS" }}
{{- end }}
{{- if and (eq .gateway.tlsMode "Terminate") .tls.enabled }}
{{- $problems = append $problems "gateway.tlsMode is Terminate, but tls.enabled is true: the Gateway would speak plain HTTP with a relay that wants TLS, and agents' certificates would be lost; set gateway.tlsMode=Passthrough" }}
{{- end }}
{{- if and (not .gateway.create) (not .gateway.parentRefs) }}
{{- $problems = append $problems "gateway.parentRefs is missing: gateway.create is false" }}
{{- end }}
{{- end }}
{{- if and .ingress.enabled (not .ingress.hosts) }}
{{- $problems = append $problems "ingress.hosts is missing: ingress.enabled is true" }}
{{- end }}

{{- end }}
{{- with $problems }}
{{- fail (printf "\n\nculvert-relay can't be installed with these values:\n  - %s\n" (join "\n  - " .)) }}
{{- end }}
{{- end }}
