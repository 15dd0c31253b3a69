{{- define "prompt-operator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "prompt-operator.account" -}}
{{- .Values.serviceAccount.name | default (include "prompt-operator.name" .) -}}
{{- end }}

{{- define "prompt-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "prompt-operator.labels" -}}
{{ include "prompt-operator.selector" . }}
app.kubernetes.io/part-of: prompt-operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "prompt-operator.rules" -}}
- apiGroups: [promptops.dev]
  resources: [prompts, promptversions, experiments, promptpolicies, promptrollbacks]
  verbs: [get, list, watch]
- apiGroups: [promptops.dev]
  resources: [prompts/status, promptversions/status, experiments/status, promptpolicies/status, promptrollbacks/status]
  verbs: [patch]
- apiGroups: [promptops.dev]
  resources: [promptrollbacks]
  verbs: [create, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, get, patch]
{{- end }}

{{- define "prompt-operator.subjects" -}}
subjects:
- kind: ServiceAccount
  name: {{ include "prompt-operator.account" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
