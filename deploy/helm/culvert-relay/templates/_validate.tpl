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
{{- $problems = append $problems "callers.mode is known, but no callers are configured: set callers.tokens, callers.existingSecret, callers.certificates or callers.jwt" }}
{{- end }}
{{- if and (eq $callers.mode "open") $isKnown }}
{{- $problems = append $problems "callers.mode is open, but callers.tokens, existingSecret, certificates or jwt is set, which open ignores: set callers.mode=known, or remove them" }}
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
{{- if and $hasDirectory (gt (int .replicas) 1) .directory.advertiseHost (not (contains "$(" .directory.advertiseHost)) }}
{{- $problems = append $problems (printf "directory.advertiseHost is %s for all %d replicas: each needs a name of its own; set $(POD_IP).NAMESPACE.pod.cluster.local, or leave it empty for the pod's address" .directory.advertiseHost (int .replicas)) }}
{{- end }}
{{- if and .relayToken .relayTokenExistingSecret }}
{{- $problems = append $problems "relayToken and relayTokenExistingSecret are both set: use one" }}
{{- end }}
{{- if and $hasDirectory (not (or .relayToken .relayTokenExistingSecret)) }}
{{- $problems = append $problems "relayToken is missing: with a directory, replicas authenticate to each other with it; set relayToken or relayTokenExistingSecret" }}
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
{{- $problems = append $problems (printf "clusters[%d].%s is set with existingClustersSecret, which is used instead: keep only id (and argocd) there" $index (first $secrets)) }}
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
{{- $problems = append $problems (printf "terminationGracePeriodSeconds is missing: it cannot be derived from %s=%s; give one that is longer than grace and drainDelay" $key $duration) }}
{{- end }}
{{- end }}
{{- end }}
{{- $ports := dict }}
{{- $listeners := list (list "port" .port) (list "internalPort" .internalPort) (list "healthPort" .healthPort) }}
{{- if .web.enabled }}{{ $listeners = append $listeners (list "web.port" .web.port) }}{{ end }}
{{- if .admin.enabled }}{{ $listeners = append $listeners (list "admin.port" .admin.port) }}{{ end }}
{{- range $listeners }}
{{- $key := index . 0 }}
{{- $port := index . 1 | toString }}
{{- if hasKey $ports $port }}
{{- $problems = append $problems (printf "%s and %s are both %s: each listener needs its own" (get $ports $port) $key $port) }}
{{- end }}
{{- $_ := set $ports $port $key }}
{{- end }}

{{- $names := dict }}
{{- $policies := dict "public" true }}
{{- $aboutPeople := dict }}
{{- range .policies }}
{{- $_ := set $policies .name true }}
{{- if regexMatch `"(claim|emailDomain)":` (toJson .) }}{{ $_ := set $aboutPeople .name true }}{{ end }}
{{- end }}
{{- $knowsAll := and (not .servicesFrom.configMap) (not .servicesFrom.secret) }}
{{- range $index, $service := .services }}
{{- if hasKey $names $service.name }}
{{- $problems = append $problems (printf "services[%d].name is %q, which is also another entry's: names must differ" $index $service.name) }}
{{- end }}
{{- $_ := set $names $service.name true }}
{{- if and $knowsAll (not (hasKey $policies $service.policy)) }}
{{- $problems = append $problems (printf "services[%d] (%s) has the policy %s, which is not in policies" $index $service.name $service.policy) }}
{{- end }}
{{- if and $knowsAll (hasKey $aboutPeople $service.policy) (not $.Values.providers) (not $callers.jwt.issuer) }}
{{- $problems = append $problems (printf "services[%d] (%s) has the policy %s, which has rules about people, and nothing identifies them: set providers, or callers.jwt" $index $service.name $service.policy) }}
{{- end }}
{{- if and (not $.Values.existingClustersSecret.name) (not (hasKey $ids $service.cluster)) }}
{{- $problems = append $problems (printf "services[%d] (%s) has the cluster %s, which is not in clusters" $index $service.name $service.cluster) }}
{{- end }}
{{- end }}
{{- range $index, $cluster := .clusters }}
{{- if ne (empty $cluster.hostnames) (empty $cluster.policy) }}
{{- $problems = append $problems (printf "clusters[%d] (%s): hostnames and policy go together: one of them is missing" $index $cluster.id) }}
{{- end }}
{{- end }}
{{- range $index, $provider := .providers }}
{{- if $provider.clientSecret }}
{{- $problems = append $problems (printf "providers[%d].clientSecret would be stored in a ConfigMap: put it into a Secret, name that in providerSecrets, and its file in clientSecretFile" $index) }}
{{- end }}
{{- end }}
{{- with .admin }}
{{- if .enabled }}
{{- if not (include "culvert-relay.adminTokensSecret" $) }}
{{- $problems = append $problems "admin.tokensSecret is missing: name a Secret whose key tokens.json is the list of admin tokens" }}
{{- end }}
{{- if and (not $.Values.tls.enabled) (not $.Values.trustedProxies) }}
{{- $problems = append $problems "admin.enabled is true without TLS, and tokens would cross the network unencrypted: set tls.enabled, or in trustedProxies the addresses of the proxies that terminate TLS" }}
{{- end }}
{{- if and .stateClaim $hasDirectory }}
{{- $problems = append $problems "admin.stateClaim is set beside a directory, where Redis keeps what the API adds: remove one of them" }}
{{- end }}
{{- if and .stateClaim (gt (int $.Values.replicas) 1) }}
{{- $problems = append $problems "admin.stateClaim is for one replica: with several, set directory" }}
{{- end }}
{{- else if or .tokensSecret .stateClaim }}
{{- $problems = append $problems "admin.enabled is false, but admin.tokensSecret or stateClaim is set: set admin.enabled=true, or remove them" }}
{{- end }}
{{- end }}
{{- with .web }}
{{- if .enabled }}
{{- if and (not .certSecrets) (not $.Values.trustedProxies) }}
{{- $problems = append $problems "web.certSecrets is missing: name Secrets with tls.crt and tls.key, or in trustedProxies the addresses of the proxies that terminate TLS" }}
{{- end }}
{{- $terminates := or .ingress.enabled (and .gateway.enabled (eq .gateway.tlsMode "Terminate")) }}
{{- if and $terminates .certSecrets }}
{{- $problems = append $problems "web.certSecrets is set, but web.ingress or web.gateway terminates TLS and would speak plain HTTP with a listener that requires TLS: remove web.certSecrets, or set web.gateway.tlsMode=Passthrough" }}
{{- end }}
{{- if and .gateway.enabled (eq .gateway.tlsMode "Passthrough") (not .certSecrets) }}
{{- $problems = append $problems "web.gateway.tlsMode is Passthrough, but web.certSecrets is empty: nobody would speak TLS" }}
{{- end }}
{{- if and .gateway.enabled (not .gateway.parentRefs) }}
{{- $problems = append $problems "web.gateway.parentRefs is missing: web.gateway.enabled is true" }}
{{- end }}
{{- if and (or .ingress.enabled .gateway.enabled) (eq (include "culvert-relay.webHostnames" $) "[]") }}
{{- $problems = append $problems "web.hostnames is missing: no service, cluster or web.relayHost has a hostname for web.ingress or web.gateway" }}
{{- end }}
{{- else if or .certSecrets .relayHost .ingress.enabled .gateway.enabled }}
{{- $problems = append $problems "web.enabled is false, but web.certSecrets, relayHost, ingress or gateway is set: set web.enabled=true, or remove them" }}
{{- end }}
{{- end }}

{{- if .gateway.enabled }}
{{- if and (eq .gateway.tlsMode "Passthrough") (not .tls.enabled) }}
{{- $problems = append $problems "gateway.tlsMode is Passthrough, but tls.enabled is false: nobody would speak TLS" }}
{{- end }}
{{- if and (eq .gateway.tlsMode "Terminate") .tls.enabled }}
{{- $problems = append $problems "gateway.tlsMode is Terminate, but tls.enabled is true: the Gateway would speak plain HTTP with a relay that requires TLS, and agents' certificates would be lost; set gateway.tlsMode=Passthrough" }}
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
