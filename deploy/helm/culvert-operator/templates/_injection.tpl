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

{{/* CEL: whether a pod lacks the agent. */}}
{{- define "culvert-operator.hasNoAgent" -}}
!object.spec.containers.exists(container, container.name == 'culvert-agent') &&
!(has(object.spec.initContainers) &&
object.spec.initContainers.exists(container, container.name == 'culvert-agent'))
{{- end }}

{{/* CEL: whether a pod's annotations are ports where they have to be. */}}
{{- define "culvert-operator.hasValidPorts" -}}
['culvert.dev/port', 'culvert.dev/health-port'].all(name,
!has(object.metadata.annotations) || !(name in object.metadata.annotations) ||
(object.metadata.annotations[name].matches('^[1-9][0-9]{0,4}$') &&
int(object.metadata.annotations[name]) <= 65535))
{{- end }}
