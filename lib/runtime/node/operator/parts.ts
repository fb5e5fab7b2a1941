/** The parts of the operator's process. */
import { randomBytes } from "node:crypto";
import process from "node:process";
import type { OperatorOptions } from "../../../config/operator_options.ts";
import { version } from "../../../config/version.ts";
import { KubeClient } from "../../../kube/client.ts";
import { Leader } from "../../../kube/leader.ts";
import type { Log } from "../../../log.ts";
import { manager } from "../../../operator/api/schema.ts";
import { Cloudflare } from "../../../operator/dns/cloudflare.ts";
import { Rfc2136 } from "../../../operator/dns/rfc2136.ts";
import type { Management } from "../../../operator/management/management.ts";
import { OperatorMetrics } from "../../../operator/metrics.ts";
import { Operator } from "../../../operator/operator.ts";
import { RelayApi } from "../../../operator/relay/relay_api.ts";
import { dnsExchange } from "../../deno/dns_exchange.ts";
import { kubeFetch } from "../../deno/kube_fetch.ts";
import { probeTargets, relayFetch } from "../../deno/relay_fetch.ts";
import { caFault } from "../key_material.ts";
import { PrometheusInstruments } from "../prometheus.ts";
import { tokenDigest } from "../token_digest.ts";
import { type Controller, controllersOf, leaseName, makeManagement } from "./controllers.ts";
import { Injection } from "./injection.ts";

/** How often Secrets are looked at, which nothing tells about. */
const checkMs = 10_000;
/** After this time, a failing clean-up gives up, and an Event names what is left. */
const orphanMs = 10 * 60_000;
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
  const { connection, namespace } = options;
  // A pod has its own name there.
  const instance = `${process.env["HOSTNAME"] ?? (isDraining ? "drain" : "operator")}-${
    randomBytes(4).toString("hex")
  }`;
  const { fetch, close } = kubeFetch(connection);
  const metrics: OperatorMetrics = new OperatorMetrics(new PrometheusInstruments(), () => ({
    leads: leader.leads,
    depth: controllers.reduce((sum, { depth }) => sum + depth, 0),
    heldBack: controllers.reduce((sum, { heldBack }) => sum + heldBack, 0),
    ...operator.counts,
    ...management?.counts ?? { clusters: 0, registrationTokens: 0 },
    webhookExpiresMs: injection.expiresMs,
    webhookReviewBytes: injection.reviewBytes,
  }), version);
  const leader: Leader = new Leader({
    client: new KubeClient({ fetch, fieldManager: manager, metrics, timeoutMs: leaseTimeoutMs }),
    ...{ namespace, name: leaseName(options), identity: instance, log },
    takesOver: isDraining,
  });
  // A replica that was frozen, or whose Lease another one has taken, must not finish what it began.
  const mayWrite = () => {
    if (!leader.leads) throw new Error("This replica does not lead any more");
  };
  const client = new KubeClient({ fetch, fieldManager: manager, metrics, mayWrite });
  const fetchRelay = relayFetch();
  const relays = new RelayApi({
    fetch: fetchRelay,
    mayWrite,
    answered: (method, code) => metrics.relayAnswered(method, code),
  });
  const digest = (text: string) => tokenDigest(text).toHex();
  const newToken = () => randomBytes(agentTokenBytes).toString("hex");
  const operator: Operator = new Operator({
    ...{ client, relays, watchRelay: fetchRelay, digest, newToken },
    settings: {
      namespace,
      idPrefix: options.idPrefix ?? "",
      agentImage: options.agentImage,
      agentClusterRoles: options.agentClusterRoles,
      hasInjectionPolicy: options.injection === "policy",
      resyncMs: options.resyncMs,
      ...{ checkMs, orphanMs },
    },
    watchNamespaces: options.watchNamespaces,
    probe: probeTargets,
    caFault,
    dns: new Rfc2136({ exchange: dnsExchange, mayWrite }),
    cloudflare: new Cloudflare({
      fetch: (url, init) => globalThis.fetch(url, { ...init, redirect: "error" }),
      ...options.cloudflareApi && { baseUrl: options.cloudflareApi.href.replace(/\/+$/, "") },
      mayWrite,
    }),
    ...{ instance, log, metrics, isDraining },
  });
  const management = makeManagement(options, {
    ...{ client, relays, watchRelay: fetchRelay, digest, newToken, checkMs, orphanMs },
    ...{ instance, log, metrics, isDraining },
  });
  const controllers = controllersOf(options, operator, management);
  const injection: Injection = new Injection({
    ...{ options, client, fetch, log },
    tunnel: (namespace, name) => operator.findTunnel(namespace, name),
    admitted: (result) => metrics.admitted(result),
    webhookRefused: (reason) => metrics.webhookRefused(reason),
  });
  return { client, instance, operator, management, controllers, leader, metrics, injection, close };
}
