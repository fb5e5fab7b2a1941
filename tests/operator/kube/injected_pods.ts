/** Pods that ask for an agent, and what the API server makes of them. */
import { KubeError } from "../../../lib/kube/errors.ts";
import type { KubeClient } from "../../../lib/kube/client.ts";
import type { KubeObject } from "../../../lib/kube/objects.ts";
import { pods } from "../../../lib/kube/resources.ts";
import { namespace } from "./cluster.ts";

/** Creates a pod. @returns it as it was admitted */
export async function create(client: KubeClient, pod: KubeObject): Promise<KubeObject> {
  return await client.create(pods, pod);
}

/** Why the API server refuses a pod. */
export async function refusal(client: KubeClient, pod: KubeObject): Promise<string> {
  try {
    await create(client, pod);
  } catch (error) {
    if (error instanceof KubeError) return error.message;
    throw error;
  }
  throw new Error("the pod was admitted");
}

/** A pod. @param tunnel Which it asks for; null for none. */
export function pod(
  name: string,
  {
    tunnel = "main" as string | null,
    annotations = {} as Record<string, string>,
    spec = {} as Record<string, unknown>,
    where = namespace,
  } = {},
): KubeObject {
  const labels = tunnel === null ? {} : { "culvert.dev/inject": tunnel };
  return {
    metadata: { name, namespace: where, labels, annotations },
    spec: { containers: [{ name: "app", image: "app:1" }], ...spec },
  };
}

/** An init container, as far as the tests look into it. */
export interface Container {
  readonly name: string;
  readonly restartPolicy?: string;
  readonly args?: readonly string[];
}

export function initContainersOf(pod: KubeObject): readonly Container[] {
  return (pod["spec"] as { initContainers?: readonly Container[] }).initContainers ?? [];
}

/** Names of a pod's init containers. */
export function namesOf(pod: KubeObject): string {
  return initContainersOf(pod).map(({ name }) => name).join();
}
