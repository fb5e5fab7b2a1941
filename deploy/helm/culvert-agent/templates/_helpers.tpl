{{- define "culvert-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "culvert-agent.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $release .Values.fullnameOverride | trunc 54 | trimSuffix "-" }}
{{- end }}

{{- define "culvert-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "culvert-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "culvert-agent.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "culvert-agent.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
app.kubernetes.io/part-of: culvert
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "culvert-agent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "culvert-agent.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "culvert-agent.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* Seconds of a duration such as 30s or 2m; nothing for another form. */}}
{{- define "culvert-agent.seconds" -}}
{{- if regexMatch "^[0-9]+s$" . }}{{ trimSuffix "s" . }}
{{- else if regexMatch "^[0-9]+m$" . }}{{ mul (trimSuffix "m" . | int) 60 }}
{{- else if eq . "0" }}0
{{- end }}
{{- end }}

{{- define "culvert-agent.terminationGracePeriodSeconds" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds }}
{{- add (include "culvert-agent.seconds" .Values.grace | int) 10 }}
{{- else }}
{{- int .Values.terminationGracePeriodSeconds }}
{{- end }}
{{- end }}

{{/* Whether the pod needs the token of its ServiceAccount. */}}
{{- define "culvert-agent.mountsToken" -}}
{{- $folder := "/var/run/secrets/kubernetes.io/serviceaccount/" }}
{{- if .Values.targets }}
{{- if contains $folder (toJson .Values.targets) }}true{{ end }}
{{- else if hasPrefix $folder .Values.saTokenPath }}true{{ end }}
{{- end }}

{{/* Whether extraEnv or extraArgs say where the token is; then the Secret's is not used. */}}
{{- define "culvert-agent.hasOwnToken" -}}
{{- range .Values.extraEnv }}
{{- if has .name (list "TOKEN" "TOKEN_FILE") }}true{{ end }}
{{- end }}
{{- range .Values.extraArgs }}
{{- if regexMatch "^--?token(-file)?(=|$)" . }}true{{ end }}
{{- end }}
{{- end }}

{{/* The port that serverURL names, or its scheme's. */}}
{{- define "culvert-agent.serverPort" -}}
{{- $host := (urlParse .Values.serverURL).host }}
{{- regexFind ":[0-9]+$" $host | trimPrefix ":" | default (ternary "80" "443" (hasPrefix "ws://" .Values.serverURL)) }}
{{- end }}

{{/* The rules of a Role: those that are not about resources belong to a whole cluster alone. */}}
{{- define "culvert-agent.namespacedRules" -}}
{{- $rules := list }}
{{- range .Values.rbac.rules }}
{{- if not .nonResourceURLs }}{{ $rules = append $rules . }}{{ end }}
{{- end }}
{{- toYaml $rules }}
{{- end }}
