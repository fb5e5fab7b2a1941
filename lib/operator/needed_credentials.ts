/** Which namespaces' credentials are still needed to clean up at relays and in DNS. */
import type { TunnelStatus } from "./api/tunnel.ts";
import type { BindingStatus } from "./api/tunnel_binding.ts";
import { ownRecords } from "./dns/kept_records.ts";
import type { Caches } from "./caches.ts";

/** Whether something may have to be deleted with the credentials of a namespace. */
export function needsCredentials(caches: Caches, namespace: string): boolean {
  for (const { metadata, status } of caches.values("tunnels")) {
    const isOver = metadata.deletionTimestamp !== undefined &&
      ((status ?? {}) as TunnelStatus).endpoint === undefined;
    if (metadata.namespace === namespace && !isOver) return true;
  }
  for (const binding of caches.values("bindings")) {
    const { registered = [] } = (binding["status"] ?? {}) as BindingStatus;
    if (ownRecords(binding).some(({ secret }) => secret.startsWith(`${namespace}/`))) return true;
    if (registered.some(({ tunnel }) => tunnel.startsWith(`Tunnel/${namespace}/`))) return true;
  }
  return false;
}
