{{- define "culvert-relay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "culvert-relay.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $release .Values.fullnameOverride | trunc 54 | trimSuffix "-" }}
{{- end }}

{{- define "culvert-relay.selectorLabels" -}}
app.kubernetes.io/name: {{ include "culvert-relay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "culvert-relay.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "culvert-relay.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: relay
app.kubernetes.io/part-of: culvert
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "culvert-relay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "culvert-relay.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "culvert-relay.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* "true" or nothing, so that each can stand in a condition. */}}
{{- define "culvert-relay.isMutual" -}}
{{- if and .Values.tls.enabled .Values.tls.clientCASecret }}true{{ end }}
{{- end }}

{{- define "culvert-relay.callersShowCertificates" -}}
{{- if and .Values.tls.enabled (or .Values.callers.caSecret .Values.tls.clientCASecret) }}true{{ end }}
{{- end }}

{{- define "culvert-relay.hasDirectory" -}}
{{- if or .Values.directory.url .Values.directory.existingSecret }}true{{ end }}
{{- end }}

{{- define "culvert-relay.hasRelayToken" -}}
{{- if or .Values.relayToken .Values.relayTokenExistingSecret }}true{{ end }}
{{- end }}

{{- define "culvert-relay.hasCallerTokens" -}}
{{- if or .Values.callers.tokens .Values.callers.existingSecret }}true{{ end }}
{{- end }}

{{/* What --callers gets: open, known, or nothing where the relay's own rule is right. */}}
{{- define "culvert-relay.callers" -}}
{{- if .Values.callers.mode }}
{{- .Values.callers.mode }}
{{- else if or (include "culvert-relay.hasCallerTokens" .) .Values.callers.certificates .Values.callers.jwt.issuer }}known
{{- else if not (include "culvert-relay.callersShowCertificates" .) }}open
{{- end }}
{{- end }}

{{/* What --hosts gets: the names that are given, and those that callers have from this chart. */}}
{{- define "culvert-relay.hosts" -}}
{{- if .Values.callers.hosts }}
{{- $service := printf "%s-internal" (include "culvert-relay.fullname" .) }}
{{- $ofNamespace := printf "%s.%s" $service .Release.Namespace }}
{{- $names := list $service $ofNamespace (printf "%s.svc" $ofNamespace) (printf "%s.svc.cluster.local" $ofNamespace) }}
{{- $argocd := (urlParse .Values.argocd.serverURL).hostname | trimSuffix "." }}
{{- if regexMatch "^[A-Za-z0-9._-]+$" $argocd }}{{ $names = append $names $argocd }}{{ end }}
{{- concat .Values.callers.hosts $names | uniq | join "," }}
{{- end }}
{{- end }}

{{/* Seconds of a duration such as 30s or 2m; nothing for another form. */}}
{{- define "culvert-relay.seconds" -}}
{{- if regexMatch "^[0-9]+s$" . }}{{ trimSuffix "s" . }}
{{- else if regexMatch "^[0-9]+m$" . }}{{ mul (trimSuffix "m" . | int) 60 }}
{{- else if eq . "0" }}0
{{- end }}
{{- end }}

{{- define "culvert-relay.drainDelay" -}}
{{- $hasElsewhere := or (not .Values.hostNetwork) (include "culvert-relay.hasDirectory" .) }}
{{- .Values.drainDelay | default (ternary "5s" "0s" (not (empty $hasElsewhere))) }}
{{- end }}

{{- define "culvert-relay.terminationGracePeriodSeconds" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds }}
{{- add (include "culvert-relay.seconds" .Values.grace | int) (include "culvert-relay.seconds" (include "culvert-relay.drainDelay" .) | int) 10 }}
{{- else }}
{{- int .Values.terminationGracePeriodSeconds }}
{{- end }}
{{- end }}

{{/* A name that Kubernetes takes, for a cluster id that may have capitals, dots and underscores. */}}
{{- define "culvert-relay.clusterSecretName" -}}
{{- $plain := regexReplaceAll "[^a-z0-9-]" (lower .id) "-" | trimAll "-" }}
{{- if or (ne $plain .id) (gt (len .id) 150) }}
{{- $plain = printf "%s-%s" (trunc 150 $plain | trimSuffix "-") (sha256sum .id | trunc 8) }}
{{- end }}
{{- printf "%s-cluster-%s" .fullname $plain }}
{{- end }}

{{/* The clusters file: entries without what is for their Argo CD Secrets. */}}
{{- define "culvert-relay.clustersFile" -}}
{{- $entries := list }}
{{- range .Values.clusters }}
{{- $entry := omit . "argocd" }}
{{- if not $entry.targetAddr }}{{ $entry = set $entry "targetAddr" "kubernetes.default.svc:443" }}{{ end }}
{{- $entries = append $entries $entry }}
{{- end }}
{{- $entries | toJson }}
{{- end }}

{{/* "true" if there are services, from values or from objects that exist. */}}
{{- define "culvert-relay.hasServices" -}}
{{- if or .Values.services .Values.policies .Values.providers .Values.login .Values.servicesFrom.configMap .Values.servicesFrom.secret }}true{{ end }}
{{- end }}

{{/* The services file, as far as it is made of values. */}}
{{- define "culvert-relay.servicesFile" -}}
{{- $file := dict }}
{{- range $key := list "services" "policies" "providers" "login" }}
{{- with get $.Values $key }}{{ $_ := set $file $key . }}{{ end }}
{{- end }}
{{- with $file }}{{ toJson . }}{{ end }}
{{- end }}

{{/* Hostnames that lead to the web listener, without ports, as JSON. */}}
{{- define "culvert-relay.webHostnames" -}}
{{- $names := .Values.web.hostnames }}
{{- range concat .Values.services .Values.clusters }}{{ $names = concat $names (.hostnames | default list) }}{{ end }}
{{- with .Values.web.relayHost }}{{ $names = append $names . }}{{ end }}
{{- with .Values.login.host }}{{ $names = append $names . }}{{ end }}
{{- $plain := list }}
{{- range $names }}{{ $plain = append $plain (regexReplaceAll ":[0-9]+$" (lower .) "") }}{{ end }}
{{- uniq $plain | toJson }}
{{- end }}

{{/* TLSRoute was experimental for long: the newest version that the cluster knows, if it tells. */}}
{{- define "culvert-relay.tlsRouteVersion" -}}
{{- $version := "v1" }}
{{- range $candidate := list "v1alpha2" "v1alpha3" "v1" }}
{{- if $.Capabilities.APIVersions.Has (printf "gateway.networking.k8s.io/%s/TLSRoute" $candidate) }}{{ $version = $candidate }}{{ end }}
{{- end }}
{{- $version }}
{{- end }}

{{/* Names of the admin listener: those that are given, or its Service's. */}}
{{- define "culvert-relay.adminHosts" -}}
{{- $service := printf "%s-admin" (include "culvert-relay.fullname" .) }}
{{- $inNamespace := printf "%s.%s" $service .Release.Namespace }}
{{- $own := list $service $inNamespace (printf "%s.svc" $inNamespace) (printf "%s.svc.cluster.local" $inNamespace) }}
{{- if eq .Values.admin.hosts "*" }}*{{ else }}{{ concat $own (compact (list .Values.admin.hosts)) | join "," }}{{ end }}
{{- end }}

{{/* The chart's own Secret of clusters; the operator's has a name of its own, which is not taken. */}}
{{- define "culvert-relay.clustersSecret" -}}
{{- $name := printf "%s-clusters" (include "culvert-relay.fullname" .) }}
{{- ternary (printf "%s-values" $name) $name (and .Values.operator.enabled (eq $name "culvert-relay-clusters")) }}
{{- end }}

{{/* The Secret of admin tokens: the one that is given, or the operator's. */}}
{{- define "culvert-relay.adminTokensSecret" -}}
{{- .Values.admin.tokensSecret | default (ternary "culvert-relay-admin-tokens" "" .Values.operator.enabled) }}
{{- end }}
