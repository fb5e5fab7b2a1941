{{/* Which pods are injected: those with the label, in the namespaces that the operator works in. Its own
and kube-system start without it. */}}
{{- define "culvert-operator.injectedPods" -}}
objectSelector:
  matchExpressions:
    - key: culvert.dev/inject
      operator: Exists
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: {{ list "kube-system" .Release.Namespace | uniq | toJson }}
    {{- with .Values.watchNamespaces }}
    - key: kubernetes.io/metadata.name
      operator: In
      values: {{ toJson . }}
    {{- end }}
{{- end }}

{{/* New pods alone: a label on a running pod does nothing. */}}
{{- define "culvert-operator.newPods" -}}
- apiGroups: [""]
  apiVersions: [v1]
  operations: [CREATE]
  resources: [pods]
  scope: Namespaced
{{- end }}
