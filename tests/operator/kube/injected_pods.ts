/** Pods that ask for an agent, and what the API server makes of them. */
import { KubeError } from "../../../lib/kube/errors.ts";
import type { KubeClient } from "../../../lib/kube/client.ts";
import type { KubeObject } from "../../../lib/kube/objects.ts";
import { pods, secrets } from "../../../lib/kube/resources.ts";
import { Program } from "../../support/programs.ts";
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
  readonly env?: readonly Variable[];
  readonly ports?: readonly { readonly containerPort: number; readonly hostPort?: number }[];
  readonly resources?: { readonly limits?: Readonly<Record<string, string>> };
}

interface Variable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly fieldRef?: { readonly fieldPath: string } };
}

export function initContainersOf(pod: KubeObject): readonly Container[] {
  return (pod["spec"] as { initContainers?: readonly Container[] }).initContainers ?? [];
}

/** Names of a pod's init containers. */
export function namesOf(pod: KubeObject): string {
  return initContainersOf(pod).map(({ name }) => name).join();
}

const tokenFolder = "/etc/culvert/relay-token";

/** Starts a pod's agent as a kubelet would: with its token's file, and what its annotations say now. */
export async function startAgentOf(client: KubeClient, pod: KubeObject): Promise<Program> {
  const container = initContainersOf(pod).find(({ name }) => name === "culvert-agent")!;
  const { volumes } = pod["spec"] as {
    volumes: readonly {
      readonly name: string;
      readonly secret?: { readonly secretName: string };
    }[];
  };
  const secretName = volumes.find(({ name }) => name === "culvert-relay-token")!.secret!.secretName;
  const { namespace, annotations = {} } = pod.metadata;
  const { data } = await client.get(secrets, { namespace: namespace!, name: secretName }) as
    & KubeObject
    & { data: Record<string, string> };
  const folder = await Deno.makeTempDir({ prefix: "culvert-injected-" });
  await Deno.writeTextFile(`${folder}/token`, atob(data["token"]!));
  const args = (container.args ?? []).map((arg) => arg.replace(tokenFolder, folder));
  const cleanup = () => Deno.remove(folder, { recursive: true });
  return Program.start("agent.ts", args, variablesOf(container, annotations), [cleanup]);
}

/** A container's variables, those before which others refer to included. */
function variablesOf(
  { env = [] }: Container,
  annotations: Readonly<Record<string, string>>,
): Record<string, string> {
  const values: Record<string, string> = {};
  for (const { name, value = "", valueFrom } of env) {
    const annotation = /^metadata\.annotations\['(.+)'\]$/.exec(
      valueFrom?.fieldRef?.fieldPath ?? "",
    );
    values[name] = annotation
      ? annotations[annotation[1]!] ?? ""
      : value.replace(/\$\((\w+)\)/g, (_, other) => values[other] ?? "");
  }
  return values;
}
