/** Sidecar injection in the operator's process: the webhook, if there is one, and its certificates. */
import type { OperatorOptions } from "../../../config/operator_options.ts";
import type { KubeClient, KubeFetch } from "../../../kube/client.ts";
import type { KubeObject } from "../../../kube/objects.ts";
import type { Log } from "../../../log.ts";
import type { AdmissionParts, AdmissionResult } from "../../../operator/injection/admission.ts";
import {
  CertificateRotation,
  type CertificateSettings,
} from "../../../operator/injection/certificate_rotation.ts";
import { NativeSidecars } from "../../../operator/injection/native_sidecars.ts";
import { allShow } from "./shown_certificates.ts";
import { RateLimitedLog } from "../../../rate_limited_log.ts";
import { Webhook, type WebhookRefusal } from "./webhook.ts";

/** What injection works with. */
export interface InjectionOptions {
  readonly options: OperatorOptions;
  readonly client: KubeClient;
  readonly fetch: KubeFetch;
  readonly tunnel: AdmissionParts["tunnel"];
  readonly admitted: (result: AdmissionResult) => void;
  readonly webhookRefused: (reason: WebhookRefusal) => void;
  readonly log: Log;
}

/** A review takes 5 seconds at most. */
const graceMs = 5_000;
/** How long Services take to leave a replica out that is not ready any more, with time to spare. */
const leaveMs = 5_000;
const logSweepMs = 1_000;
/** Tunnels that are asked of the API server at the same time, because no watch has told of them. */
const maxLookups = 32;

/** The webhook of this replica; nothing unless the options ask for one. */
export class Injection {
  readonly #options: InjectionOptions;
  readonly #native: NativeSidecars;
  readonly #rotation: CertificateRotation;
  readonly #rateLimitedLog: RateLimitedLog;
  #lookups = 0;
  #isLeaving = false;
  #webhook: Webhook | undefined;

  constructor(options: InjectionOptions) {
    this.#options = options;
    const { client, log } = options;
    this.#rateLimitedLog = new RateLimitedLog(log);
    this.#native = new NativeSidecars(options.fetch, log);
    this.#rotation = new CertificateRotation({
      ...{ client, settings: this.#certificates, log },
      allShow: (configuration, ca) => allShow(client, configuration, ca),
    });
  }

  /** Why the API server can't use this replica's webhook; undefined if it can, or has none. */
  get fault(): string | undefined {
    if (!this.#webhook) return undefined;
    if (this.#isLeaving) return "webhook: it is being stopped";
    if (this.#native.isNative === undefined) return "the API server's version is not known yet";
    const { fault } = this.#webhook.certificate;
    return fault === undefined ? undefined : `webhook: ${fault}`;
  }

  /** When the certificate that is shown expires, in milliseconds since 1970. */
  get expiresMs(): number | undefined {
    return this.#webhook?.certificate.expiresMs;
  }

  /** Bytes of the reviews that come or are answered now; undefined without a webhook. */
  get reviewBytes(): number | undefined {
    return this.#webhook?.reviewBytes;
  }

  /** Listens. @throws {ConfigError} if the address can't be had */
  async start(): Promise<void> {
    const { options, client, log, webhookRefused } = this.#options;
    if (options.injection !== "webhook") return;
    this.#webhook = await Webhook.start({
      ...{ address: options.webhookAddr, client, certificates: this.#certificates, log },
      admission: {
        tunnel: (namespace, name) => this.#tunnel(namespace, name),
        isNative: () => this.#isNative(),
        agentImage: options.agentImage,
      },
      answered: (result, reason, peer) => this.#answered(result, reason, peer),
      refused: webhookRefused,
      rateLimitedLog: this.#rateLimitedLog,
    });
  }

  /** Follows what every replica has to know until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    if (!this.#webhook) return;
    const sweeping = setInterval(() => this.#rateLimitedLog.sweep(), logSweepMs);
    await Promise.all([this.#native.run(signal), this.#webhook.run(signal)]);
    clearInterval(sweeping);
  }

  /** Renews certificates until the signal is aborted: for the replica that leads. */
  async lead(signal: AbortSignal): Promise<void> {
    if (this.#webhook) await this.#rotation.run(signal);
  }

  /** Says that it is not ready, and goes on until those who choose replicas know. */
  async leave(): Promise<void> {
    if (!this.#webhook) return;
    this.#isLeaving = true;
    this.#webhook.leave();
    await new Promise((resolve) => setTimeout(resolve, leaveMs));
  }

  /** Ends, once what is under way is answered. */
  async close(): Promise<void> {
    await this.#webhook?.close(graceMs);
    this.#rateLimitedLog.sweep(true);
  }

  get #certificates(): CertificateSettings {
    const { options } = this.#options;
    return {
      namespace: options.namespace,
      configuration: options.webhookConfig,
      authorityMs: options.webhookCaMs,
      leafMs: options.webhookCertMs,
    };
  }

  #isNative(): boolean {
    const { isNative } = this.#native;
    if (isNative === undefined) throw new Error("The API server's version is not known yet");
    return isNative;
  }

  /** A Tunnel as it is now. Strangers that ask for many must not make as many requests of it. */
  async #tunnel(namespace: string, name: string): Promise<KubeObject | undefined> {
    if (this.#lookups >= maxLookups) throw new Error("Too many reviews come at once; try again");
    this.#lookups++;
    try {
      return await this.#options.tunnel(namespace, name);
    } finally {
      this.#lookups--;
    }
  }

  #answered(result: AdmissionResult, why: string | undefined, peer: string): void {
    this.#options.admitted(result);
    const log = this.#rateLimitedLog;
    if (result === "refused") log.info("Refused a pod", { peer }, { reason: why });
    if (result === "failed") log.warn("Could not answer a review", { peer }, { error: why });
  }
}
