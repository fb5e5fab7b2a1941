#!/bin/sh
# Certificates for mutual TLS, with OpenSSL alone: a CA, and certificates from it for the relay, an agent
# and Argo CD.
#
#   certificates.sh FOLDER AGENT NAME...
#
# FOLDER  gets ca.crt, ca.key, relay.crt, relay.key, agent-AGENT.crt, agent-AGENT.key, argocd.crt and
#         argocd.key. An existing CA is used again, so a second run renews the others, and a run with
#         another AGENT creates that agent's certificate.
# AGENT   the common name of the agent's certificate: its cluster's id, as in certificateName
# NAME    host names and IP addresses of the relay, as agents and callers write them
#
# Anyone who has ca.key can issue certificates that the relay accepts: keep it off both clusters.
set -eu

readonly ca_days=3650 days=365

[ $# -ge 3 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder=$1 agent=$2
shift 2
umask 077
mkdir -p "$folder"
cd "$folder"

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.new"; }

# sign NAME COMMON-NAME USAGE [ALT-NAMES]: NAME.crt and NAME.key. The old ones stay until both are there.
sign() {
  new_key "$1.key"
  openssl req -new -key "$1.key.new" -subj "/CN=$2" -out "$1.csr"
  {
    printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n'
    printf 'extendedKeyUsage=%s\n' "$3"
    [ -z "${4-}" ] || printf 'subjectAltName=%s\n' "$4"
  } > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -sha256 -days "$days" \
    -extfile "$1.ext" -out "$1.crt.new" 2> /dev/null
  mv "$1.crt.new" "$1.crt"
  mv "$1.key.new" "$1.key"
  rm "$1.csr" "$1.ext"
}

if [ ! -f ca.crt ]; then
  new_key ca.key
  mv ca.key.new ca.key
  openssl req -x509 -new -key ca.key -sha256 -days "$ca_days" -subj '/CN=culvert CA' -out ca.crt \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign'
fi

alt_names=
for name; do
  case $name in
    *[!0-9.]*) kind=DNS ;;
    *) kind=IP ;;
  esac
  case $name in *:*) kind=IP ;; esac
  alt_names=${alt_names:+$alt_names,}$kind:$name
done

# Several relays show it to each other, so it is good for clients too.
sign relay "$1" serverAuth,clientAuth "$alt_names"
sign "agent-$agent" "$agent" clientAuth "DNS:$agent"
sign argocd argocd clientAuth "DNS:argocd"
