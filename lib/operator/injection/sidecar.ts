/** The agent that is put into users' pods: a pure function from a Tunnel to a container. */
import { agentUid, containerSecurity, relayParts, routesParts } from "../agents/agent_objects.ts";
import { targetsFolder } from "../routes/route_resolution.ts";
import type { ReadableTunnel } from "../tunnel.ts";

/** On a pod: the Tunnel of its namespace whose agent it gets. */
export const injectLabel = "culvert.dev/inject";
/** On a pod: the port that its agent publishes, in place of the Tunnel's routes. */
export const portAnnotation = "culvert.dev/port";
/** On a pod with a port: the hostnames at which the agent asks the relay to publish it. */
export const hostnameAnnotation = "culvert.dev/hostname";
/** On a pod: the port of its agent's health listener, where the Tunnel's is taken. */
export const healthPortAnnotation = "culvert.dev/health-port";

/** The name of the injected container. */
export const sidecarName = "culvert-agent";

/** What a pod gets. */
export interface Sidecar {
  /** Its first variable is the health listener's address, and its only port that listener's. */
  readonly container: Readonly<Record<string, unknown>>;
  readonly volumes: readonly NamedVolume[];
  readonly imagePullSecrets: readonly { readonly name: string }[];
}

/** A volume of a pod. */
export interface NamedVolume {
  readonly name: string;
  readonly [key: string]: unknown;
}

/** One sidecar for pods that publish a port of their own, and one for all others. */
export interface Sidecars {
  readonly routes: Sidecar;
  readonly port: Sidecar;
}

/** Both sidecars of a tunnel. @param agentImage Of Tunnels that name none. */
export function sidecarsOf(tunnel: ReadableTunnel, agentImage: string): Sidecars {
  return {
    routes: sidecar(tunnel, agentImage, {
      args: [`--targets=${targetsFolder}/targets.yaml`],
      ...{ env: [], ...routesParts(tunnel, "culvert-") },
    }),
    port: sidecar(tunnel, agentImage, {
      args: ["--plain-target", "--sa-token-path="],
      env: [
        annotationVariable("CULVERT_PORT", portAnnotation),
        { name: "TARGET", value: "127.0.0.1:$(CULVERT_PORT)" },
        // Empty is none.
        annotationVariable("HOSTNAMES", hostnameAnnotation),
      ],
      ...{ volumes: [], mounts: [] },
    }),
  };
}

interface Parts {
  readonly args: readonly string[];
  readonly env: readonly unknown[];
  readonly volumes: readonly NamedVolume[];
  readonly mounts: readonly unknown[];
}

const healthPortName = "culvert-health";

function sidecar(tunnel: ReadableTunnel, agentImage: string, parts: Parts): Sidecar {
  const { agent, sidecar } = tunnel.spec;
  const relay = relayParts(tunnel, "culvert-");
  const resources = sidecar.resources ?? agent.resources;
  const probe = (path: string) => ({ httpGet: { path, port: healthPortName } });
  return {
    container: {
      name: sidecarName,
      image: agent.image ?? agentImage,
      ...agent.imagePullPolicy && { imagePullPolicy: agent.imagePullPolicy },
      // Native sidecars: the app starts after this one, and a Job does not wait for its end.
      restartPolicy: "Always",
      args: [...relay.args, ...parts.args, "--log-format=json", ...agent.extraArgs ?? []],
      env: [
        { name: "HEALTH_ADDR", value: `:${sidecar.healthPort}` },
        ...parts.env,
      ],
      ports: [{ name: healthPortName, containerPort: sidecar.healthPort, protocol: "TCP" }],
      // The app may start while the relay is away; the pod is ready once the agent is connected.
      startupProbe: { ...probe("/healthz"), periodSeconds: 1, failureThreshold: 60 },
      livenessProbe: { ...probe("/healthz"), periodSeconds: 10, timeoutSeconds: 5 },
      readinessProbe: { ...probe("/readyz"), periodSeconds: 2, timeoutSeconds: 3 },
      securityContext: {
        ...containerSecurity,
        runAsNonRoot: true,
        ...{ runAsUser: agentUid, runAsGroup: agentUid },
        seccompProfile: { type: "RuntimeDefault" },
      },
      ...resources && { resources },
      volumeMounts: [...parts.mounts, ...relay.mounts],
    },
    volumes: [...parts.volumes, ...relay.volumes],
    imagePullSecrets: agent.imagePullSecrets ?? [],
  };
}

/** A variable with an annotation of the pod; empty where the pod has none. */
function annotationVariable(name: string, annotation: string): unknown {
  return { name, valueFrom: { fieldRef: { fieldPath: `metadata.annotations['${annotation}']` } } };
}
