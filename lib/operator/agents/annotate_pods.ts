/** Has kubelet renew what pods mount. */
import type { KubeClient } from "../../kube/client.ts";
import { isNotFound } from "../../kube/errors.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { pods } from "../../kube/resources.ts";

/** Changes pods' metadata, so that kubelet looks at their volumes now and not within a minute. */
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
      // It has gone meanwhile.
      if (!isNotFound(error)) throw error;
    }
  }
}
