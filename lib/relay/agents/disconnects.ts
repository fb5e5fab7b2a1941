/** How each cluster's last session ended. */
import type { SessionEnd } from "../../protocol/session_end.ts";
import type { Registration } from "./registry.ts";

/** The end of a session. */
export interface Disconnect {
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly code: number;
  readonly reason: string;
  readonly instance: string | undefined;
  readonly address: string;
}

/** The last end for each cluster; as many as there are clusters. */
export class Disconnects {
  readonly #last = new Map<string, Disconnect>();

  add(
    { cluster, instance, address }: Pick<Registration, "cluster" | "instance" | "address">,
    { code, reason }: Pick<SessionEnd, "code" | "reason">,
  ): void {
    this.#last.set(cluster.id, { atMs: Date.now(), code, reason, instance, address });
  }

  /** The cluster's last one, since the relay started. */
  of(cluster: string): Disconnect | undefined {
    return this.#last.get(cluster);
  }

  /** Clusters are gone. */
  forget(isGone: (cluster: string) => boolean): void {
    for (const cluster of this.#last.keys()) if (isGone(cluster)) this.#last.delete(cluster);
  }
}
