/** The parts of the operator's process. */
import { randomBytes } from "node:crypto";
import process from "node:process";
import type { OperatorOptions } from "../../../config/operator_options.ts";
import { version } from "../../../config/version.ts";
import { KubeClient } from "../../../kube/client.ts";
import { Leader } from "../../../kube/leader.ts";
import type { Log } from "../../../log.ts";
import { manager } from "../../../operator/api/schema.ts";
import type { Controller } from "../../../operator/controller.ts";
import type { Management } from "../../../operator/management/management.ts";
import { OperatorMetrics, type OperatorStats } from "../../../operator/metrics.ts";
import type { Operator } from "../../../operator/operator.ts";
import { RelayApi } from "../../../operator/relay/relay_api.ts";
import { kubeFetch } from "../../deno/kube_fetch.ts";
import { relayFetch } from "../../deno/relay_fetch.ts";
import { PrometheusInstruments } from "../prometheus.ts";
import { tokenDigest } from "../token_digest.ts";
import {
  type ControllerParts,
  controllersOf,
  leaseName,
  makeManagement,
  makeTunnels,
} from "./controllers.ts";
import { Injection } from "./injection.ts";

/** A Lease is renewed within its deadline, or not at all. */
const leaseTimeoutMs = 5_000;
const agentTokenBytes = 32;

/** All of it. */
export interface OperatorParts {
  /** Writes only while the Lease is held. */
  readonly client: KubeClient;
  /** Names this process in Events. */
  readonly instance: string;
  readonly operator: Operator;
  readonly management: Management | undefined;
  readonly controllers: readonly Controller[];
  readonly leader: Leader;
  readonly metrics: OperatorMetrics;
  readonly injection: Injection;
  readonly close: () => void;
}

/** Puts an operator together; nothing runs yet. */
export function makeOperator(
  options: OperatorOptions,
  log: Log,
  { isDraining = false }: { readonly isDraining?: boolean } = {},
): OperatorParts {
  const instance = instanceName(isDraining ? "drain" : "operator");
  const { fetch, close } = kubeFetch(options.connection);
  const metrics: OperatorMetrics = new OperatorMetrics(
    new PrometheusInstruments(),
    () => statsOf(parts),
    version,
  );
  const leader = new Leader({
    client: new KubeClient({ fetch, fieldManager: manager, metrics, timeoutMs: leaseTimeoutMs }),
    ...{ namespace: options.namespace, name: leaseName(options), identity: instance, log },
    takesOver: isDraining,
  });
  // A replica that was frozen, or whose Lease another one has taken, must not finish what it began.
  const mayWrite = () => {
    if (!leader.leads) throw new Error("This replica is no longer the leader");
  };
  const client = new KubeClient({ fetch, fieldManager: manager, metrics, mayWrite });
  const shared: ControllerParts = {
    ...relayClients(metrics, mayWrite),
    digest: (text) => tokenDigest(text).toHex(),
    newToken: () => randomBytes(agentTokenBytes).toString("hex"),
    ...{ client, instance, log, metrics, isDraining },
  };
  const operator = makeTunnels(options, shared, {
    mayWrite,
    cloudflareAnswered: (method, code) => metrics.cloudflareAnswered(method, code),
  });
  const management = makeManagement(options, shared);
  const controllers = controllersOf(options, operator, management);
  const injection = new Injection({
    ...{ options, client, fetch, log },
    tunnel: (namespace, name) => operator.findTunnel(namespace, name),
    admitted: (result) => metrics.admitted(result),
    webhookRefused: (reason) => metrics.webhookRefused(reason),
  });
  const parts: OperatorParts = {
    ...{ client, instance, operator, management, controllers, leader, metrics, injection, close },
  };
  return parts;
}

/** A name that no other process has. @param otherwise Begins it outside a pod. */
function instanceName(otherwise: string): string {
  // A pod has its own name there.
  const host = process.env["HOSTNAME"] ?? otherwise;
  return `${host}-${randomBytes(4).toString("hex")}`;
}

function relayClients(
  metrics: OperatorMetrics,
  mayWrite: () => void,
): Pick<ControllerParts, "relays" | "watchRelay"> {
  const fetch = relayFetch();
  const answered = (method: string, code: string) => metrics.relayAnswered(method, code);
  return { relays: new RelayApi({ fetch, mayWrite, answered }), watchRelay: fetch };
}

function statsOf(
  { leader, controllers, operator, management, injection }: OperatorParts,
): OperatorStats {
  return {
    leads: leader.leads,
    depth: controllers.reduce((sum, { depth }) => sum + depth, 0),
    heldBack: controllers.reduce((sum, { heldBack }) => sum + heldBack, 0),
    ...operator.counts,
    ...management?.counts ?? { clusters: 0, registrationTokens: 0 },
    webhookExpiresMs: injection.expiresMs,
    webhookReviewBytes: injection.reviewBytes,
  };
}
