/** Makes kubelet update mounted Secrets and ConfigMaps without delay. */
import type { KubeClient } from "../../kube/client.ts";
import { isNotFound } from "../../kube/errors.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { pods } from "../../kube/resources.ts";

/** Annotates pods: kubelet syncs a changed pod's volumes at once, others within a minute or two. */
export async function annotatePods(
  client: KubeClient,
  objects: readonly KubeObject[],
  annotation: string,
  value: string,
): Promise<void> {
  for (const { metadata } of objects) {
    if (metadata.annotations?.[annotation] === value) continue;
    const { namespace, name } = metadata;
    const patch = { metadata: { annotations: { [annotation]: value } } };
    try {
      await client.merge(pods, { namespace, name }, patch);
    } catch (error) {
      // The pod was deleted meanwhile.
      if (!isNotFound(error)) throw error;
    }
  }
}
