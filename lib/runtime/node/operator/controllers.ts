/** What the operator's process works on: tunnels, clusters beside a relay, or both. */
import type { OperatorOptions } from "../../../config/operator_options.ts";
import { manager } from "../../../operator/api/schema.ts";
import type { Controller, ControllerOptions } from "../../../operator/controller.ts";
import { Cloudflare } from "../../../operator/dns/cloudflare.ts";
import { Rfc2136 } from "../../../operator/dns/rfc2136.ts";
import { Management } from "../../../operator/management/management.ts";
import { Operator } from "../../../operator/operator.ts";
import { dnsExchange } from "../../deno/dns_exchange.ts";
import { probeTargets } from "../../deno/relay_fetch.ts";
import { caFault } from "../key_material.ts";

/** How often Secrets are looked at, which nothing tells about. */
const checkMs = 10_000;
/** The time after which a failing clean-up gives up, and an Event names what is left. */
const orphanMs = 10 * 60_000;
/** How long a registered cluster may be missing at the relay: longer than clusters take to put it again. */
const goneMs = 15 * 60_000;

/** What both sides are made from. */
export type ControllerParts = Omit<ControllerOptions, "watchNamespaces">;

/** What the tunnels' side has for changes of DNS records. */
export interface DnsParts {
  /** Throws if this process must not change them. */
  readonly mayWrite: () => void;
  readonly cloudflareAnswered: (method: string, code: string) => void;
}

/** The tunnels' side. */
export function makeTunnels(
  options: OperatorOptions,
  parts: ControllerParts,
  { mayWrite, cloudflareAnswered }: DnsParts,
): Operator {
  const baseUrl = withoutSlash(options.cloudflareApi);
  return new Operator({
    ...parts,
    settings: {
      namespace: options.namespace,
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
      ...baseUrl !== undefined && { baseUrl },
      mayWrite,
      answered: cloudflareAnswered,
    }),
  });
}

/** The relay's side, if the options ask for it. */
export function makeManagement(
  options: OperatorOptions,
  parts: ControllerParts,
): Management | undefined {
  if (!options.controllers.includes("clusters")) return undefined;
  return new Management({
    ...parts,
    settings: {
      namespace: options.namespace,
      argocdServer: withoutSlash(options.argocdServer),
      argocdNamespaces: [...new Set(options.argocdNamespaces ?? [])],
      clusterProfileNamespaces: [...new Set(options.clusterProfileNamespaces ?? [])],
      relayAdminUrl: withoutSlash(options.relayAdminUrl),
      relaySecret: options.relaySecret,
      relaySelector: options.relaySelector,
      pollMs: options.pollMs,
      resyncMs: options.resyncMs,
      ...{ checkMs, goneMs, orphanMs },
    },
    watchNamespaces: options.watchNamespaces,
  });
}

/** The Lease's name. Operators of both sides may run in one namespace, each with its own Lease. */
export function leaseName({ controllers }: OperatorOptions): string {
  return controllers.includes("tunnels") ? manager : `${manager}-clusters`;
}

/** The controllers that the options ask for. */
export function controllersOf(
  { controllers }: OperatorOptions,
  operator: Operator,
  management: Management | undefined,
): readonly Controller[] {
  return [...controllers.includes("tunnels") ? [operator] : [], ...management ? [management] : []];
}

function withoutSlash(url: URL | undefined): string | undefined {
  return url?.href.replace(/\/+$/, "");
}
