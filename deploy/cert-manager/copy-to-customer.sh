#!/bin/sh
# Copies an agent's certificate and the CA's from the management cluster to a customer's, as the agent
# chart wants them. Nothing is written to disk. Run it again after each renewal; the agent takes the new
# certificate without a restart.
#
#   copy-to-customer.sh MANAGEMENT-CONTEXT CUSTOMER-CONTEXT CLUSTER [NAMESPACE]
#
# CLUSTER    the cluster's id: its certificate is in Secret culvert-agent-CLUSTER-tls
# NAMESPACE  of the relay and of the agent (default: culvert)
#
# Then: helm … --set tls.serverCASecret=culvert-agent-tls --set tls.clientCertSecret=culvert-agent-tls
set -eu

[ $# -ge 3 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
management=$1 customer=$2 cluster=$3 namespace=${4:-culvert}

data() {
  kubectl --context "$management" -n "$namespace" get secret "culvert-agent-$cluster-tls" \
    -o "jsonpath={.data.$1}"
}

ca=$(data 'ca\.crt') cert=$(data 'tls\.crt') key=$(data 'tls\.key')
[ -n "$ca" ] && [ -n "$cert" ] && [ -n "$key" ] || {
  echo "Secret culvert-agent-$cluster-tls in $namespace has no certificate yet" >&2
  exit 1
}

kubectl --context "$customer" create namespace "$namespace" --dry-run=client -o yaml |
  kubectl --context "$customer" apply -f -
kubectl --context "$customer" -n "$namespace" apply -f - << SECRET
apiVersion: v1
kind: Secret
metadata:
  name: culvert-agent-tls
type: kubernetes.io/tls
data:
  ca.crt: $ca
  tls.crt: $cert
  tls.key: $key
SECRET
