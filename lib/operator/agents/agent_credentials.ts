/** Makes the Secret with the credentials that a tunnel's agents add to requests. */
import type { KubeObject } from "../../kube/objects.ts";
import { secrets } from "../../kube/resources.ts";
import { secretData } from "../secret_text.ts";
import type { ReadableTunnel, Tunnel } from "../tunnel.ts";
import { metadataOf, namesOf } from "./agent_metadata.ts";
import { annotatePods } from "./annotate_pods.ts";
import type { Context } from "../context.ts";
import { ensureOwned, isOwnedBy } from "./owned_objects.ts";
import type { TunnelTable } from "../routes/route_table.ts";

/** On agents' pods: changes with routes' credentials, so that kubelet renews their mount at once. */
const credentialsAnnotation = "culvert.dev/credentials";

/** The credentials of all tunnels. */
export class AgentCredentials {
  readonly #context: Context;
  /** By tunnel: the version of its Secret, and whether agents' pods are to be told of it. */
  readonly #versions = new Map<string, { readonly version: string; readonly isNews: boolean }>();

  constructor(context: Context) {
    this.#context = context;
  }

  forget(tunnelKey: string): void {
    this.#versions.delete(tunnelKey);
  }

  /** Makes the Secret what the table says. A tunnel that never had a credential gets none. */
  async ensure(tunnel: ReadableTunnel, table: TunnelTable): Promise<void> {
    const { client, lastMade } = this.#context;
    const { held } = table;
    const own = credentialsSecret(tunnel, table);
    const { namespace, name } = own.metadata;
    let wanted = own;
    if (table.credentials.size === 0 || held.size > 0) {
      const made = held.size > 0 ? lastMade.find(tunnel, name) : undefined;
      const there = made ?? await client.find(secrets, { namespace, name });
      const data = there && isOwnedBy(there, tunnel) ? there["data"] : undefined;
      if (table.credentials.size === 0 && data === undefined) return;
      const kept = Object.entries(data ?? {}).filter(([key]) => held.has(key));
      wanted = { ...own, data: { ...Object.fromEntries(kept), ...own["data"] as object } };
    }
    const made = await ensureOwned(this.#context, secrets, undefined, tunnel, wanted);
    lastMade.keep(tunnel, made);
    const { resourceVersion: version = "" } = made.metadata;
    const last = this.#versions.get(tunnel.key);
    if (last?.version === version) return;
    // A digest of the Secret would tell of its content to those who may read pods.
    this.#versions.set(tunnel.key, { version, isNews: last !== undefined });
  }

  /** Has kubelet renew the mounts of a Secret that has changed since the first look. */
  async hurry({ key }: ReadableTunnel, pods: readonly KubeObject[]): Promise<void> {
    const last = this.#versions.get(key);
    if (!last?.isNews) return;
    await annotatePods(this.#context.client, pods, credentialsAnnotation, last.version);
  }
}

/** The credentials that agents add to requests for routes' Services. */
function credentialsSecret(tunnel: Tunnel, { credentials }: TunnelTable): KubeObject {
  const sorted = [...credentials].sort(([one], [other]) => one < other ? -1 : 1);
  return {
    metadata: metadataOf(tunnel, namesOf(tunnel).credentials),
    type: "Opaque",
    data: secretData(Object.fromEntries(sorted)),
  };
}
