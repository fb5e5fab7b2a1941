/** What a Deployment says of a tunnel's agents. */
import type { KubeObject } from "../kube/objects.ts";
import { no, unknown, type Verdict, yes } from "./conditions.ts";
import type { Tunnel } from "./tunnels.ts";

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

/** Whether agents are connected. New ones have some time before it is a fault that they are not. */
export function availability(deployment: KubeObject, { status }: Tunnel, wanted: number): Verdict {
  if (wanted === 0) return no("NoAgents", "spec.agent.replicas is 0");
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
