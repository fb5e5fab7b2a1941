/**
 * The webhook as a listener: TLS with the certificate from its Secret, and the API server's reviews. API
 * servers do not authenticate themselves, so whatever reaches the port may be anybody's: reviews have
 * limits each and together, and an answer holds nothing that is secret.
 */
import { Hono } from "hono";
import { ByteBudget } from "../../../bytes/byte_budget.ts";
import type { ListenAddress } from "../../../config/options/address.ts";
import { countFault, errorFields } from "../../../faults.ts";
import { defaultHeadLimits } from "../../../http1/head.ts";
import type { KubeClient } from "../../../kube/client.ts";
import type { Log } from "../../../log.ts";
import type { Exchange } from "../../../net/exchange.ts";
import { type BodyFault, type BodyLimits, readBody } from "../../../net/read_body.ts";
import type { RateLimitedLog } from "../../../rate_limited_log.ts";
import { defaultConnectionTimeouts } from "../../../net/http_connection.ts";
import {
  type AdmissionParts,
  type AdmissionResult,
  maxReviewBytes,
  maxReviewMs,
  replyTo,
  webhookPath,
} from "../../../operator/injection/admission.ts";
import { issue, makeAuthority } from "../../../operator/injection/authority.ts";
import type { CertificateSettings } from "../../../operator/injection/certificate_rotation.ts";
import { WebhookCertificate } from "../../../operator/injection/webhook_certificate.ts";
import { HttpServer } from "../http_server.ts";
import { listenOn } from "../program.ts";

/** What a webhook is made from. */
export interface WebhookOptions {
  readonly address: ListenAddress;
  readonly client: KubeClient;
  readonly certificates: CertificateSettings;
  readonly admission: Omit<AdmissionParts, "answered">;
  /** A review was answered. @param peer Who sent it. */
  readonly answered: (result: AdmissionResult, reason: string | undefined, peer: string) => void;
  /** A connection or a request was refused before there was a review. */
  readonly refused: (reason: WebhookRefusal) => void;
  readonly log: Log;
  readonly rateLimitedLog: RateLimitedLog;
  readonly limits?: Partial<WebhookLimits>;
}

/** Why a connection or a request was refused. */
export type WebhookRefusal = BodyFault | "connections" | "handshake";

/** What callers may take. */
export interface WebhookLimits {
  readonly reviewMs: number;
  /** All reviews that come or are answered at the same time. */
  readonly totalBytes: number;
  readonly connections: number;
  /** The maximum number of connections from one address, so that a pod can't keep the API server out. */
  readonly connectionsPerAddress: number;
}

/** A pod's review has some 10 KiB: thousands at once, or sixteen of the largest. */
const defaultLimits: WebhookLimits = {
  reviewMs: maxReviewMs,
  totalBytes: 16 * maxReviewBytes,
  connections: 1_024,
  connectionsPerAddress: 256,
};
/** The API server gives up after `timeoutSeconds` of the configuration, which is 5. */
const timeouts = { ...defaultConnectionTimeouts, headMs: 10_000, stallMs: 10_000 };
/** Shown until there is a certificate, which no client trusts. */
const placeholderMs = 365 * 24 * 3_600_000;

/** The webhook of one replica. */
export class Webhook {
  readonly certificate: WebhookCertificate;
  /** Where it listens. */
  readonly address: string;
  readonly #server: HttpServer;
  readonly #budget: ByteBudget;

  private constructor(
    parts: {
      server: HttpServer;
      certificate: WebhookCertificate;
      budget: ByteBudget;
      address: string;
    },
  ) {
    this.#server = parts.server;
    this.#budget = parts.budget;
    this.certificate = parts.certificate;
    this.address = parts.address;
  }

  /** Bytes of the reviews that come or are answered now. */
  get reviewBytes(): number {
    return this.#budget.used;
  }

  /** Listens. @throws {ConfigError} if the address can't be had */
  static async start(options: WebhookOptions): Promise<Webhook> {
    const { client, certificates, refused, log, rateLimitedLog } = options;
    const limits = { ...defaultLimits, ...options.limits };
    const budget = new ByteBudget(limits.totalBytes);
    const { reviewMs: timeoutMs } = limits;
    const bodies: BodyLimits = { maxBytes: maxReviewBytes, timeoutMs, budget };
    const server = new HttpServer({
      fetch: admissionApp(options, bodies).fetch,
      tls: await placeholder(),
      limits: defaultHeadLimits,
      timeouts,
      connections: { max: limits.connections, maxPerAddress: limits.connectionsPerAddress },
      turnedAway(limit, peer) {
        refused("connections");
        rateLimitedLog.warn("Refused a connection", { listener: "webhook", limit, peer });
      },
      handshakeFailed({ reason, detail, peer }) {
        refused("handshake");
        const about = { listener: "webhook", reason, peer };
        rateLimitedLog.debug("TLS handshake failed", about, { detail });
      },
      deafened: () =>
        log.error("Reopened a listener that accepted no connections", {
          listener: "webhook",
        }),
      fault: (error) => {
        countFault("request");
        log.error("Webhook handler failed", errorFields(error));
      },
    });
    const address = await listenOn(server, options.address, "webhook-addr");
    log.info("Listening", { listener: "webhook", address });
    const certificate = new WebhookCertificate({
      ...{ client, settings: certificates, log },
      use: ({ cert, key }) => server.replaceTls({ cert, key }),
    });
    return new Webhook({ server, certificate, budget, address });
  }

  /** Follows the certificate until the signal is aborted; reviews are answered until {@link close}. */
  async run(signal: AbortSignal): Promise<void> {
    await this.certificate.run(signal);
  }

  /**
   * Goes on, but has API servers close each connection after its next review: one that they reuse
   * while it closes would fail a review, which they don't send again.
   */
  leave(): void {
    this.#server.leave();
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

function admissionApp(
  { admission, answered, refused }: WebhookOptions,
  limits: BodyLimits,
): Hono<{ Bindings: { exchange: Exchange } }> {
  const app = new Hono<{ Bindings: { exchange: Exchange } }>();
  app.post(webhookPath, async (c) => {
    const { exchange } = c.env;
    const bytes = await readBody(exchange, limits);
    if (typeof bytes === "string") refused(bytes);
    try {
      const { status, body } = await replyTo(bytes, {
        ...admission,
        answered: (result, reason) => answered(result, reason, exchange.peer.address),
      });
      return typeof body === "string"
        ? c.text(`${body}\n`, status)
        : c.json(body as object, status);
    } finally {
      if (typeof bytes !== "string") limits.budget?.giveBack(bytes.length);
    }
  });
  return app;
}
