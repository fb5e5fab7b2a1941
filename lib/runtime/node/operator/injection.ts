/** Sidecar injection in the operator's process: the webhook, if there is one, and its certificates. */
import type { OperatorOptions } from "../../../config/operator_options.ts";
import type { KubeClient, KubeFetch } from "../../../kube/client.ts";
import type { Log } from "../../../log.ts";
import type { AdmissionParts, AdmissionResult } from "../../../operator/injection/admission.ts";
import {
  CertificateKeeper,
  type CertificateSettings,
} from "../../../operator/injection/certificate_keeper.ts";
import { NativeSidecars } from "../../../operator/injection/native_sidecars.ts";
import { allShow } from "./shown_certificates.ts";
import { Webhook } from "./webhook.ts";

/** What injection works with. */
export interface InjectionOptions {
  readonly options: OperatorOptions;
  readonly client: KubeClient;
  readonly fetch: KubeFetch;
  readonly tunnel: AdmissionParts["tunnel"];
  readonly admitted: (result: AdmissionResult) => void;
  readonly log: Log;
}

/** A review takes 5 seconds at most. */
const graceMs = 5_000;

/** The webhook of this replica; nothing unless the options ask for one. */
export class Injection {
  readonly #options: InjectionOptions;
  readonly #native: NativeSidecars;
  readonly #keeper: CertificateKeeper;
  #webhook: Webhook | undefined;

  constructor(options: InjectionOptions) {
    this.#options = options;
    const { client, log } = options;
    this.#native = new NativeSidecars(options.fetch, log);
    this.#keeper = new CertificateKeeper({
      ...{ client, settings: this.#certificates, log },
      allShow: (configuration, ca) => allShow(client, configuration, ca),
    });
  }

  /** Why the API server can't use this replica's webhook; undefined if it can, or has none. */
  get fault(): string | undefined {
    if (!this.#webhook) return undefined;
    if (this.#native.isNative === undefined) return "the API server's version is not known yet";
    const { fault } = this.#webhook.certificate;
    return fault === undefined ? undefined : `webhook: ${fault}`;
  }

  /** When the certificate that is shown expires, in milliseconds since 1970. */
  get expiresMs(): number | undefined {
    return this.#webhook?.certificate.expiresMs;
  }

  /** Listens. @throws {ConfigError} if the address can't be had */
  async start(): Promise<void> {
    const { options, client, log } = this.#options;
    if (options.injection !== "webhook") return;
    this.#webhook = await Webhook.start({
      ...{ address: options.webhookAddr, client, certificates: this.#certificates, log },
      admission: {
        tunnel: this.#options.tunnel,
        isNative: () => this.#isNative(),
        agentImage: options.agentImage,
        answered: (result, reason) => this.#answered(result, reason),
      },
    });
  }

  /** Follows what every replica has to know until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    if (!this.#webhook) return;
    await Promise.all([this.#native.run(signal), this.#webhook.run(signal)]);
  }

  /** Renews certificates until the signal is aborted: for the replica that leads. */
  async lead(signal: AbortSignal): Promise<void> {
    if (this.#webhook) await this.#keeper.run(signal);
  }

  /** Ends, once what is under way is answered. */
  async close(): Promise<void> {
    await this.#webhook?.close(graceMs);
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

  #answered(result: AdmissionResult, reason: string | undefined): void {
    const { admitted, log } = this.#options;
    admitted(result);
    if (result === "refused") log.info("Refused a pod", { reason });
    if (result === "failed") log.warn("Could not answer a review", { reason });
  }
}
