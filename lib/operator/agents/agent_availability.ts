/** The agents of a tunnel, as its Deployment and the relay report them. */
import type { KubeObject } from "../../kube/objects.ts";
import type { Connection } from "./agent_sessions.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import type { Tunnel } from "../tunnel.ts";

/** Agents that have not connected after this time have a problem. */
const startMs = 120_000;

/** The status of a Deployment, as far as it is read. */
export interface DeploymentStatus {
  readonly observedGeneration?: number;
  readonly replicas?: number;
  readonly readyReplicas?: number;
  readonly updatedReplicas?: number;
}

export function statusOf(deployment: KubeObject | undefined): DeploymentStatus {
  return (deployment?.["status"] ?? {}) as DeploymentStatus;
}

/** Whether all pods are of the newest template, and ready. */
export function isRolledOut(deployment: KubeObject): boolean {
  const { generation } = deployment.metadata;
  const { observedGeneration, replicas = 0, updatedReplicas = 0, readyReplicas = 0 } = statusOf(
    deployment,
  );
  return observedGeneration === generation && updatedReplicas === replicas &&
    readyReplicas === replicas;
}

/**
 * Whether there are agents. New ones have some time before it is a fault that they are not ready.
 *
 * @param connected How many agents the relay lists; undefined where it can't be asked.
 */
export function availability(
  deployment: KubeObject,
  { status }: Tunnel,
  wanted: number,
  connected: number | undefined,
): Verdict {
  if (wanted === 0) return availabilityElsewhere(connected);
  const { readyReplicas: ready = 0 } = statusOf(deployment);
  if (ready === 0) {
    const ageMs = Date.now() - Date.parse(deployment.metadata.creationTimestamp ?? "");
    const last = status.conditions?.find(({ type }) => type === "AgentAvailable")?.status;
    const isNew = ageMs < startMs && (last === undefined || last === "Unknown");
    return isNew
      ? unknown("Starting", `${wanted} agents are about to connect to the relay`)
      : no("NotConnected", `None of ${wanted} agents is connected to the relay`);
  }
  return yes("Connected", ready < wanted ? `${ready} of ${wanted} agents are connected` : "");
}

/** With `replicas: 0`, all agents are in users' pods. */
function availabilityElsewhere(connected: number | undefined): Verdict {
  if (connected === undefined) {
    return unknown(
      "NotObserved",
      "spec.agent.replicas is 0, and agents in other pods are not known",
    );
  }
  return connected > 0
    ? yes("Injected", "spec.agent.replicas is 0, and agents in other pods are connected")
    : no("NoAgents", "spec.agent.replicas is 0, and no agent in another pod is connected");
}

/**
 * Whether agents are connected: as the relay lists them, or, where there is no admin API, as their
 * pods say, which are ready while they are connected.
 */
export function connection(found: Connection | undefined, available: Verdict): Verdict {
  if (found?.verdict.status === "False" && available.status === "Unknown") return available;
  if (found) return found.verdict;
  return available.status === "True" ? yes("PodsReady") : available;
}
