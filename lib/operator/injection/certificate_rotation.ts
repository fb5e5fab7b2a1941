/**
 * Makes the webhook's certificates, and renews them without an admission failing: a new CA is trusted
 * beside the old one before it signs, and the old one goes when every replica shows the new
 * certificate. Each step follows from what the API server has, so another replica can go on with it.
 */
import { delay } from "../../kube/delay.ts";
import type { KubeClient } from "../../kube/client.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { mutatingWebhooks, secrets } from "../../kube/resources.ts";
import type { Log } from "../../log.ts";
import { messageOf } from "../../message_of.ts";
import { factsOf, isIssuedBy, isPair, issue, type KeyPair, makeAuthority } from "./authority.ts";
import {
  namesIn,
  readKeys,
  secretOf,
  trustedBy,
  trusting,
  type WebhookKeys,
} from "./webhook_secret.ts";

/** Where the certificates are kept, and how long they last. */
export interface CertificateSettings {
  /** The Secret's namespace. */
  readonly namespace: string;
  /** The MutatingWebhookConfiguration; the Secret is called `NAME-webhook`. */
  readonly configuration: string;
  readonly authorityMs: number;
  readonly leafMs: number;
}

/** What a rotation works with. */
export interface CertificateRotationOptions {
  readonly client: KubeClient;
  readonly settings: CertificateSettings;
  /** Whether every replica shows a certificate of this CA to the API server's clients. */
  readonly allShow: (configuration: KubeObject, caPem: string) => Promise<boolean>;
  readonly log: Log;
  readonly nowMs?: () => number;
}

/** Renewed when a third of the lifetime is left. */
const renewalShare = 3;
/** Backdates certificates, for API servers whose clocks are behind. */
const maxBackdateMs = 5 * 60_000;
const maxSettleMs = 60_000;
const maxStepMs = 10_000;
/** Failed checks to allow for, and API servers and load balancers that see unready pods late. */
const looksToTakeOver = 3;

/** How often keys and configuration are looked at: far more often than certificates are renewed. */
export function lookMs({ leafMs }: CertificateSettings): number {
  return Math.min(maxStepMs, leafMs / 20);
}

/** The Secret's name. */
export function secretNameOf({ configuration }: CertificateSettings): string {
  return `${configuration}-webhook`;
}

/** Rotates the certificates; only the replica that leads runs it. */
export class CertificateRotation {
  readonly #options: CertificateRotationOptions;
  readonly #nowMs: () => number;
  /** The CA that this replica has seen the API server trust, and since when. */
  #trusted: { readonly ca: string; readonly sinceMs: number } | undefined;
  /** Since when this replica has known that a certificate is in the Secret. */
  #issued: { readonly leaf: string; readonly sinceMs: number } | undefined;
  #lastFault = "";

  constructor(options: CertificateRotationOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? Date.now;
  }

  /** Makes and renews certificates until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { settings, log } = this.#options;
    this.#trusted = undefined;
    this.#issued = undefined;
    while (!signal.aborted) {
      try {
        await this.step();
        this.#lastFault = "";
      } catch (error) {
        const fault = messageOf(error);
        if (fault !== this.#lastFault) {
          log.warn("Could not renew the webhook's certificates; trying again", { error: fault });
        }
        this.#lastFault = fault;
      }
      await delay(lookMs(settings), signal);
    }
  }

  /** Takes all steps that are possible now. */
  async step(): Promise<void> {
    const { client, settings } = this.#options;
    const { namespace, configuration: name } = settings;
    const configuration = await client.find(mutatingWebhooks, { name });
    // The chart makes it; without it nobody calls.
    if (!configuration) return;
    const secret = await client.find(secrets, { namespace, name: secretNameOf(settings) });
    const state: State = { configuration, secret, keys: readKeys(secret) };
    const ca = await this.#authority(state);
    await this.#trust(state);
    await this.#leaf(state, ca);
    await this.#retire(state, ca);
  }

  /** The CA that signs: a new one if there is none, or in the last third of its life. */
  async #authority(state: State): Promise<KeyPair> {
    const { authorityMs, leafMs } = this.#options.settings;
    const { keys } = state;
    const facts = keys.ca && factsOf(keys.ca.cert);
    const isUsable = keys.ca && facts && this.#isFresh(facts.toMs, authorityMs) &&
      await isPair(keys.ca);
    if (isUsable) {
      if (!keys.trusted.includes(keys.ca.cert)) {
        await this.#write(state, { ...keys, trusted: [keys.ca.cert, ...keys.trusted] });
      }
      return keys.ca;
    }
    const ca = await makeAuthority(this.#validity(Math.max(authorityMs, leafMs)));
    // What is trusted stays so: replicas may show a certificate of it.
    const others = keys.trusted.length > 0 ? keys.trusted : trustedBy(state.configuration);
    await this.#write(state, { ...keys, ca, trusted: [ca.cert, ...this.#current(others)] });
    this.#options.log.info("Created a CA for the webhook");
    return ca;
  }

  /** Has the API server trust all CAs that the Secret lists. */
  async #trust(state: State): Promise<void> {
    const { trusted } = state.keys;
    const before = trustedBy(state.configuration);
    const isSame = before.length === trusted.length && trusted.every((ca) => before.includes(ca));
    if (!isSame) {
      state.configuration = await this.#options.client.apply(
        mutatingWebhooks,
        trusting(state.configuration, trusted),
      );
    }
    const [newest = ""] = trusted;
    if (this.#trusted?.ca !== newest) this.#trusted = { ca: newest, sinceMs: this.#nowMs() };
  }

  /** The server's certificate: a new one if there is none that does, once its CA is trusted. */
  async #leaf(state: State, ca: KeyPair): Promise<void> {
    const { leafMs } = this.#options.settings;
    const names = namesIn(state.configuration);
    if (names.length === 0) return;
    const { leaf, trusted } = state.keys;
    const facts = leaf && factsOf(leaf.cert);
    const isOfNewest = leaf !== undefined && await isIssuedBy(leaf.cert, ca.cert);
    const hasNames = facts !== undefined && facts.names.join() === names.join();
    const isWhole = leaf !== undefined && hasNames && await isPair(leaf);
    if (isWhole && isOfNewest && this.#isFresh(facts!.toMs, leafMs)) return;
    // API servers learn of a new CA one after the other. As long as an older one is trusted, replicas
    // may show a certificate of that, even if the Secret has lost it.
    const settledMs = this.#nowMs() - this.#trusted!.sinceMs;
    const isSettled = settledMs >= Math.min(maxSettleMs, leafMs / 20);
    if (!isOfNewest && trusted.length > 1 && !isSettled) return;
    const { toMs: caToMs } = factsOf(ca.cert)!;
    const { fromMs, toMs } = this.#validity(leafMs);
    const issued = await issue(ca, names, { fromMs, toMs: Math.min(toMs, caToMs) });
    await this.#write(state, { ...state.keys, leaf: issued });
    this.#options.log.info("Issued the webhook's certificate", { names: names.join(",") });
  }

  /** Takes old CAs away when nobody needs them any more. */
  async #retire(state: State, ca: KeyPair): Promise<void> {
    const { trusted, leaf } = state.keys;
    const current = this.#current(trusted);
    const areOthersNeeded = current.length > 1 &&
      !(leaf && await isIssuedBy(leaf.cert, ca.cert) && this.#isTakenOver(leaf) &&
        await this.#options.allShow(state.configuration, ca.cert));
    const kept = areOthersNeeded ? current : [ca.cert];
    if (kept.length === trusted.length) return;
    await this.#write(state, { ...state.keys, trusted: kept });
    await this.#trust(state);
    this.#options.log.info("Removed old CAs of the webhook");
  }

  /** Whether every replica that works has had the time to look at the Secret. */
  #isTakenOver({ cert }: KeyPair): boolean {
    const nowMs = this.#nowMs();
    if (this.#issued?.leaf !== cert) this.#issued = { leaf: cert, sinceMs: nowMs };
    return nowMs - this.#issued.sinceMs >= looksToTakeOver * lookMs(this.#options.settings);
  }

  /** CAs that have not expired. */
  #current(cas: readonly string[]): string[] {
    return cas.filter((pem) => (factsOf(pem)?.toMs ?? 0) > this.#nowMs());
  }

  #isFresh(toMs: number, lifetimeMs: number): boolean {
    return toMs - this.#nowMs() > lifetimeMs / renewalShare;
  }

  #validity(lifetimeMs: number): { fromMs: number; toMs: number } {
    const nowMs = this.#nowMs();
    return { fromMs: nowMs - maxBackdateMs, toMs: nowMs + lifetimeMs };
  }

  async #write(state: State, keys: WebhookKeys): Promise<void> {
    const { client, settings } = this.#options;
    const at = { namespace: settings.namespace, name: secretNameOf(settings) };
    const wanted = secretOf(keys, at, state.secret);
    // Refused if another replica was faster.
    state.secret = state.secret
      ? await client.update(secrets, wanted)
      : await client.create(secrets, wanted);
    state.keys = readKeys(state.secret);
  }
}

interface State {
  configuration: KubeObject;
  secret: KubeObject | undefined;
  keys: WebhookKeys;
}
