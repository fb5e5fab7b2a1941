/**
 * Objects of tunnels' agents as this replica has made them. What agents have of held routes is taken from
 * there: somebody may delete or change an object while what it was made of can't be read.
 */
import { isOwnedBy, type KubeObject } from "../../kube/objects.ts";
import type { Tunnel } from "../tunnel.ts";

/** The last objects of all tunnels, while this replica leads. */
export class LastMade {
  /** By the tunnel's key, and then by the object's name. */
  readonly #objects = new Map<string, Map<string, KubeObject>>();

  /** This replica begins to lead: another one may have made other objects since it did so before. */
  begin(): void {
    this.#objects.clear();
  }

  /** The tunnel is gone from the cluster. */
  forget(tunnelKey: string): void {
    this.#objects.delete(tunnelKey);
  }

  keep({ key }: Tunnel, object: KubeObject): void {
    const known = this.#objects.get(key) ?? new Map<string, KubeObject>();
    this.#objects.set(key, known.set(object.metadata.name, object));
  }

  /** Undefined for a tunnel that was made anew since. */
  find({ key, object: owner }: Tunnel, name: string): KubeObject | undefined {
    const object = this.#objects.get(key)?.get(name);
    return object && isOwnedBy(object, owner) ? object : undefined;
  }
}
