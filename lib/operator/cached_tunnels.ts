/** Tunnels of both kinds, as the caches have them. */
import { clusterTunnels, tunnels } from "./api/crds.ts";
import { readTunnel, resourceOfTunnel, type Tunnel } from "./tunnel.ts";
import type { Caches } from "./caches.ts";

/** All tunnels, by their keys. @param operatorNamespace Where ClusterTunnels' objects are. */
export function cachedTunnels(caches: Caches, operatorNamespace: string): Map<string, Tunnel> {
  const all = [
    ...[...caches.values("tunnels")].map((object) =>
      readTunnel(tunnels, object, operatorNamespace)
    ),
    ...[...caches.values("clusterTunnels")]
      .map((object) => readTunnel(clusterTunnels, object, operatorNamespace)),
  ];
  return new Map(all.map((tunnel) => [tunnel.key, tunnel]));
}

/** The tunnel with a key; undefined if there is none. */
export function cachedTunnel(
  caches: Caches,
  key: string,
  operatorNamespace: string,
): Tunnel | undefined {
  const resource = resourceOfTunnel(key);
  const kind = resource.isNamespaced ? "tunnels" : "clusterTunnels";
  const object = caches.get(kind, key.slice(key.indexOf("/") + 1));
  return object && readTunnel(resource, object, operatorNamespace);
}
