/** The agents' tokens of tunnels: made, replaced by schedule, and taken off once nobody uses them. */
import type { EventText } from "../../kube/events.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { secrets } from "../../kube/resources.ts";
import { includes } from "../applied.ts";
import type { ReadableTunnel, Tunnel } from "../tunnel.ts";
import { metadataOf, namesOf } from "./agent_metadata.ts";
import { durationMs } from "../api/tunnel.ts";
import type { Verdict } from "../conditions.ts";
import type { Context } from "../context.ts";
import { secretText } from "../secret_text.ts";
import { RelayRefusal, RelayUnreachable } from "../relay/relay_api.ts";

/** The agents' token, and what else is to be admitted for a while. */
export interface AgentToken {
  readonly digest: string;
  /** All digests that the relay is to know. */
  readonly digests: readonly string[];
}

/** What a tunnel's token is made with. */
export interface AgentTokensOptions {
  readonly context: Context;
  readonly newToken: () => string;
  /** Has the relay know these digests and no others. @returns what came of it */
  readonly register: (digests: readonly string[]) => Promise<Verdict>;
  /** Whether agents run that have the token, and go on while the relay can't be asked. */
  readonly hasAgents: boolean;
}

/** On the token's Secret: since when it holds this token. */
const tokenSinceAnnotation = "culvert.dev/token-since";
/** The entry at a relay has at most so many tokens besides the one that agents are given. */
const maxOlderTokens = 3;
/** Where no relay can be asked who uses a token, it is admitted for so long after the next one. */
const olderInEntryMs = 24 * 3_600_000;

/** The name of a token in the relay's entry. */
export function tokenName(digest: string): string {
  return `t-${digest.slice(0, 8)}`;
}

/** Makes and rotates the tokens of all tunnels. */
export class AgentTokens {
  /** Tokens that are in no Secret yet; the same one for as long as the relay refuses it. */
  readonly #new = new Map<string, string>();

  forget(tunnelKey: string): void {
    this.#new.delete(tunnelKey);
  }

  /**
   * Has the relay know the tunnel's token, and then its agents.
   *
   * @returns undefined where agents could not use one
   */
  async ensure(
    tunnel: ReadableTunnel,
    secret: KubeObject | undefined,
    options: AgentTokensOptions,
  ): Promise<AgentToken | undefined> {
    const { context, register, hasAgents } = options;
    const token = secretText(secret, "token");
    const current = token === undefined ? undefined : context.digest(token);
    const older = await this.#older(tunnel, secret, current, context);
    const isDue = current !== undefined && older.length === 0 && isOld(tunnel, secret);
    const next = current === undefined || isDue ? this.#newToken(tunnel.key, options) : undefined;
    const digest = next === undefined ? current! : context.digest(next);
    const digests = [...new Set([digest, ...current === undefined ? [] : [current], ...older])];
    // The relay knows a token before any agent does.
    const registered = await register(digests.slice(0, 1 + maxOlderTokens));
    const isKnown = registered.status === "True";
    // Running agents continue while the relay is unreachable; an unknown token would disconnect them.
    const mayGoOn = registered.reason === "RelayUnreachable" && current !== undefined && hasAgents;
    if (!isKnown) return mayGoOn ? { digest: current, digests: [current, ...older] } : undefined;
    if (next !== undefined) await this.#put(tunnel, next, { before: secret, isDue, context });
    else await this.#ensureMetadata(tunnel, secret!, context);
    this.#new.delete(tunnel.key);
    return { digest, digests };
  }

  #newToken(tunnelKey: string, { newToken }: AgentTokensOptions): string {
    const token = this.#new.get(tunnelKey) ?? newToken();
    this.#new.set(tunnelKey, token);
    return token;
  }

  /** Tokens from before that the relay must still know, as agents are connected by them. */
  async #older(
    tunnel: ReadableTunnel,
    secret: KubeObject | undefined,
    current: string | undefined,
    context: Context,
  ): Promise<readonly string[]> {
    const before = (tunnel.status.tokenDigests ?? []).filter((it) => it !== current);
    if (before.length === 0 || current === undefined) return before;
    const { tokenRotation, relay: { registration } } = tunnel.spec;
    const overlapMs = registration.secret
      ? olderInEntryMs
      : durationMs(tokenRotation?.overlap ?? "0s");
    if (Date.now() - sinceMs(secret) < overlapMs) return before;
    if (registration.secret) return [];
    return await isUnused(tunnel, before, current, context) ? [] : before;
  }

  async #put(
    tunnel: ReadableTunnel,
    token: string,
    { before, isDue, context }: {
      before: KubeObject | undefined;
      isDue: boolean;
      context: Context;
    },
  ): Promise<void> {
    const { client, digest } = context;
    const secret = tokenSecret(tunnel, token, new Date());
    if (before) {
      const { resourceVersion = "", annotations = {} } = before.metadata;
      await client.update(secrets, {
        ...secret,
        metadata: {
          ...before.metadata,
          ...secret.metadata,
          annotations: { ...annotations, ...secret.metadata.annotations },
          resourceVersion,
        },
      });
    } else {
      await client.create(secrets, secret);
    }
    const isFirst = (tunnel.status.tokenDigests ?? []).length === 0;
    if (isFirst) return;
    await reportNewToken(tunnel, tokenName(digest(token)), isDue, context);
  }

  /** Labels and owner of the token's Secret, as they were made. */
  async #ensureMetadata(tunnel: ReadableTunnel, secret: KubeObject, { client }: Context) {
    const wanted = secretWithoutToken(tunnel);
    if (includes(secret, wanted)) return;
    const { uid = "" } = secret.metadata;
    await client.apply(secrets, { ...wanted, metadata: { ...wanted.metadata, uid } });
  }
}

/** @param isDue Whether it was time for a new token; otherwise the Secret has lost the one before. */
async function reportNewToken(
  tunnel: ReadableTunnel,
  nameAtRelay: string,
  isDue: boolean,
  { events }: Context,
): Promise<void> {
  const { name } = tokenSecretPath(tunnel);
  const text: Pick<EventText, "type" | "reason" | "note"> = isDue
    ? {
      type: "Normal",
      reason: "TokenRotated",
      note: `Secret ${name} holds a new token, ${nameAtRelay} at the relay`,
    }
    : {
      type: "Warning",
      reason: "TokenReplaced",
      note: `Secret ${name} was gone or empty: agents get a new token`,
    };
  await events.report(tunnel.resource, tunnel.object, { ...text, action: "Reconcile" });
}

/** Whether agents are connected, and none by one of these tokens. */
async function isUnused(
  tunnel: ReadableTunnel,
  older: readonly string[],
  current: string,
  { accesses, relays }: Context,
): Promise<boolean> {
  const { id } = tunnel.status;
  const found = await accesses.find(tunnel);
  if (id === undefined || !("access" in found)) return false;
  try {
    const sessions = await relays.sessions(found.access, id);
    const used = new Set(sessions.map(({ tokenName }) => tokenName));
    if (older.some((digest) => used.has(tokenName(digest)))) return false;
    return used.has(tokenName(current)) || tunnel.spec.agent.replicas === 0;
  } catch (error) {
    if (!(error instanceof RelayRefusal) && !(error instanceof RelayUnreachable)) throw error;
    return false;
  }
}

/** Since when a Secret holds its token. */
function sinceMs(secret: KubeObject | undefined): number {
  const { annotations = {}, creationTimestamp = "" } = secret?.metadata ?? {};
  const since = Date.parse(annotations[tokenSinceAnnotation] ?? creationTimestamp);
  return Number.isNaN(since) ? Date.now() : since;
}

/** Whether a token is to be replaced by schedule. */
function isOld({ spec: { tokenRotation } }: ReadableTunnel, secret: KubeObject | undefined) {
  const everyMs = tokenRotation && durationMs(tokenRotation.every);
  return everyMs !== undefined && Date.now() - sinceMs(secret) >= everyMs;
}

/** The Secret of a tunnel's token. */
export function tokenSecretPath(tunnel: ReadableTunnel) {
  return { namespace: tunnel.home, name: namesOf(tunnel).token };
}

/** The agents' token. */
function tokenSecret(tunnel: Tunnel, token: string, since: Date): KubeObject {
  const { metadata, ...rest } = secretWithoutToken(tunnel);
  const annotations = { [tokenSinceAnnotation]: since.toISOString() };
  return { ...rest, metadata: { ...metadata, annotations }, stringData: { token } };
}

/** The fields that are applied again when somebody changes them. */
function secretWithoutToken(tunnel: Tunnel): KubeObject {
  return { metadata: metadataOf(tunnel, namesOf(tunnel).token), type: "Opaque" };
}
