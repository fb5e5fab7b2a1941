{{- define "culvert-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "culvert-operator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $release .Values.fullnameOverride | trunc 54 | trimSuffix "-" }}
{{- end }}

{{- define "culvert-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "culvert-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "culvert-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "culvert-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: culvert
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "culvert-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "culvert-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "culvert-operator.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* What the operator does in the namespaces that it watches. There is no right to list Secrets. */}}
{{- define "culvert-operator.rules" -}}
- apiGroups: [culvert.dev]
  resources: [tunnels]
  verbs: [get, list, watch, patch]
- apiGroups: [culvert.dev]
  resources: [tunnelbindings]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [culvert.dev]
  resources: [accesspolicies]
  verbs: [get, list, watch]
- apiGroups: [culvert.dev]
  resources: [tunnels/status, tunnelbindings/status, accesspolicies/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, update, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [externaldns.k8s.io]
  resources: [dnsendpoints]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* For kubernetesApi.clusterRole of Tunnels. It can bind these roles alone. */}}
{{- define "culvert-operator.agentRoleRules" -}}
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [rolebindings]
  verbs: [get, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [clusterroles]
  resourceNames: {{ toJson .Values.agentClusterRoles }}
  verbs: [{{ if not (include "culvert-operator.namespaces" .) }}get, {{ end }}bind]
{{- end }}

{{/* What the operator works on, as a list; "true" where one is asked for. */}}
{{- define "culvert-operator.works" -}}
{{- if has .controller (.root.Values.controllers | default (list "tunnels")) }}true{{ end }}
{{- end }}

{{/* Namespaces that it works in, with commas between; beside a relay, the release's. */}}
{{- define "culvert-operator.namespaces" -}}
{{- if .Values.watchNamespaces }}
{{- join "," .Values.watchNamespaces }}
{{- else if not (include "culvert-operator.works" (dict "root" . "controller" "tunnels")) }}
{{- .Release.Namespace }}
{{- end }}
{{- end }}

{{/* What it does for Clusters and RegistrationTokens in the relay's namespace. */}}
{{- define "culvert-operator.clusterRules" -}}
- apiGroups: [culvert.dev]
  resources: [clusters]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [culvert.dev]
  resources: [registrationtokens]
  verbs: [get, list, watch]
- apiGroups: [culvert.dev]
  resources: [clusters/status, registrationtokens/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
# The relay's pods are told to read their files at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* What it does where Argo CD is. */}}
{{- define "culvert-operator.argocd-rules" -}}
# To see Secrets that somebody else has made for a cluster; there is no right to list some of them.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [argoproj.io]
  resources: [applications]
  verbs: [get, list, watch]
{{- end }}

{{/* What it does where ClusterProfiles are. */}}
{{- define "culvert-operator.cluster-profiles-rules" -}}
# All are listed, to see those of other cluster managers that have a Cluster's name.
- apiGroups: [multicluster.x-k8s.io]
  resources: [clusterprofiles]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [multicluster.x-k8s.io]
  resources: [clusterprofiles/status]
  verbs: [patch]
{{- end }}

{{/* All that it does in the namespaces that it works in. */}}
{{- define "culvert-operator.allRules" -}}
{{- if include "culvert-operator.works" (dict "root" . "controller" "tunnels") }}
{{- include "culvert-operator.rules" . }}
{{- if .Values.agentClusterRoles }}
{{ include "culvert-operator.agentRoleRules" . }}
{{- end }}
{{- end }}
{{- if include "culvert-operator.works" (dict "root" . "controller" "clusters") }}
{{ include "culvert-operator.clusterRules" . }}
{{- end }}
{{- end }}

{{/* Arguments of the operator, which its drain takes, too. */}}
{{- define "culvert-operator.args" -}}
- {{ printf "--agent-image=%s" (.Values.agentImage | default (printf "culvert-agent:%s" .Chart.AppVersion)) | quote }}
- --health-addr=:{{ .Values.healthPort }}
{{- if and (include "culvert-operator.namespaces" .) (not .Values.watchNamespaces) }}
- --watch-namespaces={{ include "culvert-operator.namespaces" . }}
{{- end }}
- --injection={{ .Values.injection.mode }}
{{- if eq .Values.injection.mode "webhook" }}
- --webhook-addr=:{{ .Values.injection.port }}
- --webhook-config={{ include "culvert-operator.fullname" . }}
{{- end }}
{{ include "culvert-operator.options" . | trim }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "culvert-operator.env" -}}
- name: NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Which replica acts. */}}
{{- define "culvert-operator.lease" -}}
{{- $tunnels := include "culvert-operator.works" (dict "root" . "controller" "tunnels") }}
{{- ternary "culvert-operator" "culvert-operator-clusters" (eq $tunnels "true") }}
{{- end }}

{{/* Of the drain's objects and, so that no Service and no budget counts it, of its pods. */}}
{{- define "culvert-operator.drainName" -}}
{{- printf "%s-drain" (include "culvert-operator.fullname" .) }}
{{- end }}

{{/* What a drain with the policy Delete needs beside the operator's own rights. */}}
{{- define "culvert-operator.drainRules" -}}
{{- if include "culvert-operator.works" (dict "root" . "controller" "tunnels") }}
- apiGroups: [culvert.dev]
  resources: [tunnels, tunnelbindings, clustertunnels]
  verbs: [delete]
{{- end }}
{{- if include "culvert-operator.works" (dict "root" . "controller" "clusters") }}
- apiGroups: [culvert.dev]
  resources: [clusters, registrationtokens]
  verbs: [delete]
- apiGroups: [""]
  resources: [secrets]
  resourceNames:
    - culvert-relay-admin-tokens
    - culvert-relay-operator-token
    - culvert-relay-clusters
    {{- range untilStep 2 9 1 }}
    - culvert-relay-clusters-{{ . }}
    {{- end }}
  verbs: [delete]
{{- end }}
{{- end }}
