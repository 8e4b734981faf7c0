{{- define "torc.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "torc.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "torc.labels" -}}
{{ include "torc.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "torc.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "torc.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "torc.secretName" -}}
{{- default (printf "%s-auth" (include "torc.fullname" .)) .Values.auth.usersExistingSecret -}}
{{- end -}}

{{- define "torc.passwordKey" -}}
{{- .Values.auth.aclUsers.default.passwordKey | default "default" -}}
{{- end -}}

{{- /* A probe: what of values, the path of metrics. */ -}}
{{- define "torc.probe" -}}
{{- $probe := index . 0 -}}
{{- $path := index . 1 -}}
{{- $root := index . 2 -}}
{{- if $probe.customProbe -}}
{{ toYaml $probe.customProbe }}
{{- else -}}
{{- if $root.Values.metrics.enabled -}}
httpGet: {path: {{ $path }}, port: metrics}
{{- else -}}
tcpSocket: {port: redis}
{{- end }}
{{- with $probe.initialDelaySeconds }}
initialDelaySeconds: {{ . }}
{{- end }}
periodSeconds: {{ $probe.periodSeconds }}
timeoutSeconds: {{ $probe.timeoutSeconds }}
failureThreshold: {{ $probe.failureThreshold }}
{{- end -}}
{{- end -}}

{{- /* What a ServiceMonitor and a PodMonitor say of an endpoint. */ -}}
{{- define "torc.endpoint" -}}
port: metrics
interval: {{ .interval }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- if .honorLabels }}
honorLabels: true
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
