/** The webhook as a listener: TLS with the certificate from its Secret, and the API server's reviews. */
import { Hono } from "hono";
import type { ListenAddress } from "../../../config/options/address.ts";
import { countFault, errorFields } from "../../../faults.ts";
import { defaultHeadLimits } from "../../../http1/head.ts";
import type { KubeClient } from "../../../kube/client.ts";
import type { Log } from "../../../log.ts";
import type { Exchange } from "../../../net/exchange.ts";
import { readBody } from "../../../net/read_body.ts";
import { defaultConnectionTimeouts } from "../../../net/http_connection.ts";
import {
  type AdmissionParts,
  maxReviewBytes,
  replyTo,
  webhookPath,
} from "../../../operator/injection/admission.ts";
import { issue, makeAuthority } from "../../../operator/injection/authority.ts";
import type { CertificateSettings } from "../../../operator/injection/certificate_keeper.ts";
import { WebhookCertificate } from "../../../operator/injection/webhook_certificate.ts";
import { HttpServer } from "../http_server.ts";
import { listenOn } from "../program.ts";

/** What a webhook is made from. */
export interface WebhookOptions {
  readonly address: ListenAddress;
  readonly client: KubeClient;
  readonly certificates: CertificateSettings;
  readonly admission: AdmissionParts;
  readonly log: Log;
}

/** API servers keep a few connections each. */
const maxConnections = 1_024;
/** The API server gives up after `timeoutSeconds` of the configuration, which is 5. */
const timeouts = { ...defaultConnectionTimeouts, headMs: 10_000, stallMs: 10_000 };
/** Shown until there is a certificate, which no client trusts. */
const placeholderMs = 365 * 24 * 3_600_000;

/** The webhook of one replica. */
export class Webhook {
  readonly certificate: WebhookCertificate;
  readonly #server: HttpServer;

  private constructor(server: HttpServer, certificate: WebhookCertificate) {
    this.#server = server;
    this.certificate = certificate;
  }

  /** Listens. @throws {ConfigError} if the address can't be had */
  static async start(options: WebhookOptions): Promise<Webhook> {
    const { address, client, certificates, admission, log } = options;
    const server = new HttpServer({
      fetch: admissionApp(admission).fetch,
      tls: await placeholder(),
      limits: defaultHeadLimits,
      timeouts,
      connections: { max: maxConnections, maxPerAddress: 0 },
      turnedAway: (limit, peer) => log.debug("Refused a connection", { limit, peer }),
      handshakeFailed: ({ reason, detail, peer }) =>
        log.debug("A TLS handshake failed", { listener: "webhook", reason, detail, peer }),
      deafened: () =>
        log.error("A listener accepted nothing any more, and was opened anew", {
          listener: "webhook",
        }),
      fault: (error) => {
        countFault("request");
        log.error("Webhook handler failed", errorFields(error));
      },
    });
    const bound = await listenOn(server, address, "webhook-addr");
    log.info("Listening", { listener: "webhook", address: bound });
    const certificate = new WebhookCertificate({
      ...{ client, settings: certificates, log },
      use: ({ cert, key }) => server.replaceTls({ cert, key }),
    });
    return new Webhook(server, certificate);
  }

  /** Follows the certificate until the signal is aborted; reviews are answered until {@link close}. */
  async run(signal: AbortSignal): Promise<void> {
    await this.certificate.run(signal);
  }

  /** Answers what is under way, and nothing more. */
  async close(graceMs: number): Promise<void> {
    this.#server.stopAccepting();
    await this.#server.drained(graceMs);
    this.#server.close();
  }
}

async function placeholder(): Promise<{ cert: string; key: string }> {
  const nowMs = Date.now();
  const validity = { fromMs: nowMs, toMs: nowMs + placeholderMs };
  return await issue(await makeAuthority(validity), ["webhook.invalid"], validity);
}

function admissionApp(parts: AdmissionParts): Hono<{ Bindings: { exchange: Exchange } }> {
  const app = new Hono<{ Bindings: { exchange: Exchange } }>();
  app.post(webhookPath, async (c) => {
    const { status, body } = await replyTo(await readBody(c.env.exchange, maxReviewBytes), parts);
    return typeof body === "string" ? c.text(`${body}\n`, status) : c.json(body as object, status);
  });
  return app;
}
