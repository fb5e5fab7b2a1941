/** The webhook's certificate on one replica: taken over from the Secret when the API server trusts it. */
import { delay } from "../../kube/delay.ts";
import type { KubeClient } from "../../kube/client.ts";
import { mutatingWebhooks, secrets } from "../../kube/resources.ts";
import type { Log } from "../../log.ts";
import { messageOf } from "../../message_of.ts";
import { factsOf, isIssuedBy, isPair, type KeyPair } from "./authority.ts";
import { type CertificateSettings, lookMs, secretNameOf } from "./certificate_rotation.ts";
import { namesIn, readKeys, trustedBy } from "./webhook_secret.ts";

/** What follows the certificate. */
export interface WebhookCertificateOptions {
  readonly client: KubeClient;
  readonly settings: CertificateSettings;
  /** Has handshakes from now on use another certificate. */
  readonly use: (leaf: KeyPair) => void;
  readonly log: Log;
  readonly nowMs?: () => number;
}

/** Every replica has one. */
export class WebhookCertificate {
  readonly #options: WebhookCertificateOptions;
  readonly #nowMs: () => number;
  #shown: KeyPair | undefined;
  #fault: string | undefined = "no certificate has been looked for yet";

  constructor(options: WebhookCertificateOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? Date.now;
  }

  /** Why the API server would not trust what is shown; undefined if it does. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** When the certificate that is shown expires, in milliseconds since 1970. */
  get expiresMs(): number | undefined {
    return this.#shown && factsOf(this.#shown.cert)?.toMs;
  }

  /** Follows Secret and configuration until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.step();
      } catch (error) {
        // What is shown may well be good: readiness goes by what was last known.
        this.#options.log.debug("Could not check the webhook's certificate", {
          error: messageOf(error),
        });
      }
      await delay(lookMs(this.#options.settings), signal);
    }
  }

  /** Looks once. */
  async step(): Promise<void> {
    const { client, settings, use, log } = this.#options;
    const { namespace, configuration: name } = settings;
    const configuration = await client.find(mutatingWebhooks, { name });
    if (!configuration) return this.#report(`there is no MutatingWebhookConfiguration ${name}`);
    const trusted = trustedBy(configuration);
    const names = namesIn(configuration);
    const secret = await client.find(secrets, { namespace, name: secretNameOf(settings) });
    const { leaf } = readKeys(secret);
    if (leaf && leaf.cert !== this.#shown?.cert) {
      const fault = await this.#faultOf(leaf, trusted, names);
      if (fault === undefined) {
        use(leaf);
        this.#shown = leaf;
        log.info("The webhook uses a new certificate");
      }
    }
    this.#report(
      this.#shown
        ? await this.#faultOf(this.#shown, trusted, names)
        : "there is no certificate yet",
    );
  }

  async #faultOf(
    leaf: KeyPair,
    trusted: readonly string[],
    names: readonly string[],
  ): Promise<string | undefined> {
    const facts = factsOf(leaf.cert);
    if (!facts || !await isPair(leaf)) return "certificate and key do not belong together";
    if (facts.toMs <= this.#nowMs()) return "the certificate has expired";
    if (names.some((name) => !facts.names.includes(name))) {
      return `the certificate is not for ${names.join(" and ")}`;
    }
    for (const ca of trusted) if (await isIssuedBy(leaf.cert, ca)) return undefined;
    return "no CA in the configuration's caBundle has issued the certificate";
  }

  #report(fault: string | undefined): void {
    if (fault !== undefined && fault !== this.#fault) {
      this.#options.log.debug("The webhook is not ready", { reason: fault });
    }
    this.#fault = fault;
  }
}
