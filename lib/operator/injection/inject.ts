/** Puts an agent into a pod: a pure function from a pod and its Tunnel to a JSON Patch. */
import { objectName } from "../api/schema.ts";
import type { ReadableTunnel } from "../tunnel.ts";
import {
  healthPortAnnotation,
  hostnameAnnotation,
  injectLabel,
  portAnnotation,
  type Sidecar,
  sidecarName,
  type Sidecars,
} from "./sidecar.ts";

const maxShownCharacters = 63;

/** The fields of a pod that are read. */
export interface Pod {
  readonly metadata?: {
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: {
    readonly containers?: readonly Named[];
    readonly initContainers?: readonly Named[];
    readonly volumes?: readonly Named[];
    readonly imagePullSecrets?: readonly Named[];
  };
}

interface Named {
  readonly name: string;
}

/** One operation of a JSON Patch (RFC 6902). */
export interface Operation {
  readonly op: "add";
  readonly path: string;
  readonly value: unknown;
}

/** The pod can't have what it asks for. */
export class InjectionRefused extends Error {
  override readonly name = "InjectionRefused";
}

/** Whether a pod has the agent already. */
export function isInjected({ spec }: Pod): boolean {
  const all = [...spec?.initContainers ?? [], ...spec?.containers ?? []];
  return all.some(({ name }) => name === sidecarName);
}

/** The Tunnel that a pod asks for. @throws {InjectionRefused} */
export function tunnelNameOf({ metadata }: Pod): string {
  const name = metadata?.labels?.[injectLabel] ?? "";
  // Whoever reaches the webhook can send what the API server would not let pass as a label.
  if (objectName.safeParse(name).success) return name;
  throw new InjectionRefused(
    `The label ${injectLabel} must name a Tunnel of the pod's namespace; ` +
      `it is ${JSON.stringify(name.slice(0, maxShownCharacters))}`,
  );
}

/**
 * What puts the agent into a pod that does not have it yet.
 *
 * @param isNative Whether the cluster has native sidecars. Without them, the agent is a container like
 *   others, and a Job with it does not end by itself.
 * @throws {InjectionRefused}
 */
export function injectionPatch(
  pod: Pod,
  { spec }: ReadableTunnel,
  sidecars: Sidecars,
  isNative: boolean,
): Operation[] {
  const { annotations = {} } = pod.metadata ?? {};
  checkPort(portAnnotation, annotations[portAnnotation]);
  checkPort(healthPortAnnotation, annotations[healthPortAnnotation]);
  checkHostnames(annotations, spec.sidecar.hostnames ?? []);
  const chosen = annotations[portAnnotation] === undefined ? sidecars.routes : sidecars.port;
  const { container, volumes, imagePullSecrets } = chosen;
  const { spec: podSpec = {} } = pod;
  const { restartPolicy: _, ...plain } = container;
  const [list, placed] = isNative
    ? ["initContainers", container] as const
    : ["containers", plain] as const;
  // Where another webhook has taken the container away, the rest is there still.
  return [
    ...additions(list, podSpec[list], [withHealthPort(placed, annotations)]),
    ...additions("volumes", podSpec.volumes, missingIn(podSpec.volumes, volumes)),
    ...additions(
      "imagePullSecrets",
      podSpec.imagePullSecrets,
      missingIn(podSpec.imagePullSecrets, imagePullSecrets),
    ),
  ];
}

/** What a list lacks by its names. */
function missingIn(before: readonly Named[] = [], values: readonly Named[]): readonly Named[] {
  const known = new Set(before.map(({ name }) => name));
  return values.filter(({ name }) => !known.has(name));
}

/** Adds values behind those of a list, which the pod may lack. */
function additions(
  list: string,
  before: readonly unknown[] | undefined,
  values: readonly unknown[],
): Operation[] {
  if (values.length === 0) return [];
  const path = `/spec/${list}`;
  if (before === undefined) return [{ op: "add", path, value: values }];
  return values.map((value) => ({ op: "add", path: `${path}/-`, value }));
}

function withHealthPort(
  container: Sidecar["container"],
  annotations: Readonly<Record<string, string>>,
): unknown {
  const port = annotations[healthPortAnnotation];
  if (port === undefined) return container;
  const [address, ...env] = container["env"] as readonly Named[];
  const [listener] = container["ports"] as readonly object[];
  return {
    ...container,
    env: [{ ...address, value: `:${port}` }, ...env],
    ports: [{ ...listener, containerPort: Number(port) }],
  };
}

function checkPort(annotation: string, text: string | undefined): void {
  if (text === undefined) return;
  const isPort = /^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535;
  if (isPort) return;
  throw new InjectionRefused(
    `The annotation ${annotation} is ${JSON.stringify(text)}; it must be a port from 1 to 65535`,
  );
}

function checkHostnames(
  annotations: Readonly<Record<string, string>>,
  permitted: readonly string[],
): void {
  const text = annotations[hostnameAnnotation];
  if (text === undefined) return;
  if (annotations[portAnnotation] === undefined) {
    throw new InjectionRefused(
      `The annotation ${hostnameAnnotation} needs ${portAnnotation}: what is published there`,
    );
  }
  for (const hostname of text.split(",").map((name) => name.trim())) {
    const isPermitted = permitted.includes(hostname) ||
      permitted.some((pattern) => isCovered(hostname, pattern));
    if (isPermitted) continue;
    throw new InjectionRefused(
      `The annotation ${hostnameAnnotation} asks for ${JSON.stringify(hostname)}, which is none ` +
        `of the Tunnel's sidecar.hostnames (${permitted.join(", ") || "there are none"})`,
    );
  }
}

/** A wildcard stands for one label, as in the relay's configuration. */
function isCovered(hostname: string, pattern: string): boolean {
  const dot = hostname.indexOf(".");
  return dot > 0 && pattern === `*${hostname.slice(dot)}`;
}
