#!/bin/bash
# Runs deploy/docker/compose.yaml in a Docker of its own. Call it in a network namespace of its own:
#
#   unshare --net --mount --pid --fork --kill-child tests/deploy/compose.sh FOLDER
#
# FOLDER holds relay.tar, agent.tar and target.tar: the images, as archives. Prints what a request
# through the tunnel answers, before and after the agent was restarted.
set -euo pipefail
folder=$1
compose_file=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../deploy/docker/compose.yaml
export DOCKER_HOST=unix://$folder/docker.sock COMPOSE_PROJECT_NAME=culvert

mount -t proc proc /proc
ip link set lo up
dockerd --data-root "$folder/data" --exec-root "$folder/exec" --host "$DOCKER_HOST" \
  --pidfile "$folder/dockerd.pid" > "$folder/dockerd.log" 2>&1 &
dockerd=$!

# Debian's docker-compose, 1.29, does not know the top-level `name`.
compose() {
  sed '/^name:/d' "$compose_file" |
    docker-compose --file /dev/stdin --project-directory "$(dirname "$compose_file")" "$@"
}

finish() {
  compose down --timeout 5 > "$folder/down.log" 2>&1 || true
  kill "$dockerd" && wait "$dockerd" || true
}
trap finish EXIT

# eventually COMMAND...: up to a minute.
eventually() {
  for _ in $(seq 120); do "$@" > "$folder/last" 2>&1 && return; sleep 0.5; done
  echo "compose.sh: \"$*\" did not succeed within a minute:" >&2
  tail -n 5 "$folder/last" "$folder/dockerd.log" >&2
  compose logs --no-color >&2 || true
  return 1
}

ask() { curl --silent --show-error --fail --max-time 5 http://127.0.0.1:8080/tunnel/sample/hello; }

eventually docker version
for image in relay agent target; do docker load --quiet --input "$folder/$image.tar" >&2; done
compose up --detach --no-build >&2
eventually ask
ask
echo
compose restart --timeout 10 agent >&2
eventually ask
ask
echo
