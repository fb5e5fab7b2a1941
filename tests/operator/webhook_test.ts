/** The webhook's listener, on which anybody in the cluster may knock. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { connect } from "node:tls";
import { KubeClient } from "../../lib/kube/client.ts";
import { mutatingWebhooks, secrets } from "../../lib/kube/resources.ts";
import type { OperatorOptions } from "../../lib/config/operator_options.ts";
import { type AdmissionResult, maxReviewBytes } from "../../lib/operator/injection/admission.ts";
import type { Log } from "../../lib/log.ts";
import { RateLimitedLog } from "../../lib/rate_limited_log.ts";
import { Injection } from "../../lib/runtime/node/operator/injection.ts";
import { Webhook, type WebhookLimits } from "../../lib/runtime/node/operator/webhook.ts";
import { keptLog } from "../kube/kube_setup.ts";
import { eventually, within } from "../support/deadline.ts";
import { FakeKube } from "../support/fake_kube.ts";
import { freePort } from "../support/free_port.ts";
import { RawConnection } from "../support/raw_connection.ts";
import { fieldValues, readResponse, statusOf } from "../support/raw_http.ts";

const dayMs = 24 * 3_600_000;
const address = { hostname: "127.0.0.1", port: 0 };
const certificates = {
  ...{ namespace: "ops", configuration: "culvert-operator" },
  ...{ authorityMs: 365 * dayMs, leafMs: 90 * dayMs },
};

function kubeClient(): KubeClient {
  const { fetch } = new FakeKube([mutatingWebhooks, secrets]);
  return new KubeClient({ fetch, fieldManager: "culvert-operator" });
}

/** A webhook that finds no Tunnel, with limits of the test's. */
class Listener implements Disposable {
  readonly refusals: string[] = [];
  readonly answers: string[] = [];
  readonly webhook: Webhook;

  private constructor(webhook: Webhook) {
    this.webhook = webhook;
  }

  static async start(limits: Partial<WebhookLimits> = {}): Promise<Listener> {
    const log = keptLog();
    const webhook = await Webhook.start({
      ...{ address, certificates, client: kubeClient(), limits, log },
      admission: {
        tunnel: () => Promise.resolve(undefined),
        isNative: () => true,
        agentImage: "agent:test",
      },
      answered: (result) => void listener.answers.push(result),
      refused: (reason) => void listener.refusals.push(reason),
      rateLimitedLog: new RateLimitedLog(log),
    });
    const listener = new Listener(webhook);
    return listener;
  }

  connect(): Promise<RawConnection> {
    return connectTo(Number(this.webhook.address.split(":").at(-1)));
  }

  [Symbol.dispose](): void {
    void this.webhook.close(0);
  }
}

async function connectTo(port: number): Promise<RawConnection> {
  // Callers that are no API server do not care who answers.
  const options = { host: "127.0.0.1", port, rejectUnauthorized: false, allowHalfOpen: true };
  const socket = connect(options);
  await within(once(socket, "secureConnect"), "the handshake");
  return new RawConnection(socket as Socket);
}

function head(length: number): string {
  return `POST /mutate-pods HTTP/1.1\r\nHost: webhook\r\nContent-Length: ${length}\r\n\r\n`;
}

async function answerOn({ reader }: RawConnection): Promise<[number, string]> {
  const response = await within(readResponse(reader), "an answer");
  return [statusOf(response), new TextDecoder().decode(response.body)];
}

function review(namespace = "apps"): string {
  const request = {
    ...{ uid: "1", namespace, operation: "CREATE" },
    resource: { group: "", resource: "pods" },
    object: { metadata: { labels: { "culvert.dev/inject": "home" } }, spec: { containers: [] } },
  };
  return JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request });
}

Deno.test("a review that does not come in time is refused, however its bytes trickle", async () => {
  using listener = await Listener.start({ reviewMs: 100 });
  await using caller = await listener.connect();
  await caller.write(`${head(100)}{`);
  assert.deepEqual(await answerOn(caller), [408, "The review has not come within 5 s\n"]);
  assert.deepEqual([listener.refusals, listener.answers], [["too_slow"], ["failed"]]);
});

Deno.test("reviews share a budget: what exceeds it is refused, and there is room again later", async () => {
  using listener = await Listener.start({ totalBytes: 3_000, reviewMs: 60_000 });
  const held = 2_500;
  const holding = await listener.connect();
  await holding.write(head(5_000) + "x".repeat(held));
  await eventually(() => listener.webhook.reviewBytes === held, "the first review's bytes");
  await using caller = await listener.connect();
  await caller.write(head(1_000) + "x".repeat(1_000));
  assert.deepEqual(await answerOn(caller), [503, "Too many reviews come at once; try again\n"]);
  assert.deepEqual(listener.refusals, ["no_room"]);
  assert.equal(listener.webhook.reviewBytes, held, "what was refused holds nothing");
  await holding[Symbol.asyncDispose]();
  await eventually(() => listener.webhook.reviewBytes === 0, "the budget to be free");
  await using next = await listener.connect();
  await next.write(head(review().length) + review());
  assert.equal((await answerOn(next))[0], 200);
  await eventually(() => listener.webhook.reviewBytes === 0, "the answered review to be free");
});

Deno.test("a review that is too large, and one of no possible namespace, are refused", async () => {
  using listener = await Listener.start();
  await using large = await listener.connect();
  const size = maxReviewBytes + 1;
  void large.write(head(size) + "x".repeat(size)).catch(() => {});
  assert.deepEqual(await answerOn(large), [413, `The review has more than ${size - 1} bytes\n`]);
  for (const namespace of ["..", ".", "a/b", "a?b", ""]) {
    await using caller = await listener.connect();
    await caller.write(head(review(namespace).length) + review(namespace));
    assert.equal((await answerOn(caller))[0], 400, namespace);
  }
});

Deno.test("one address can't have all connections", async () => {
  using listener = await Listener.start({ connections: 10, connectionsPerAddress: 2 });
  await using _first = await listener.connect();
  await using _second = await listener.connect();
  await assert.rejects(async () => {
    await using _ = await listener.connect();
  });
  assert.deepEqual(listener.refusals, ["connections"]);
});

/** The injection of a whole replica, which finds no Tunnel. */
function injectionOn(
  port: number,
  log: Log,
  admitted: (result: AdmissionResult) => void = () => {},
): Injection {
  return new Injection({
    options: {
      ...{ injection: "webhook", agentImage: "agent:test", namespace: "ops" },
      ...{ webhookAddr: { ...address, port }, webhookConfig: "culvert-operator" },
      ...{ webhookCaMs: 365 * dayMs, webhookCertMs: 90 * dayMs },
    } as OperatorOptions,
    client: kubeClient(),
    fetch: () => Promise.resolve(Response.json({ major: "1", minor: "34" })),
    tunnel: () => Promise.resolve(undefined),
    admitted,
    webhookRefused() {},
    log,
  });
}

Deno.test("a replica that leaves answers, and has API servers close each connection after that", async () => {
  const port = freePort();
  const injection = injectionOn(port, keptLog());
  await injection.start();
  await using reused = await connectTo(port);
  await reused.write(head(review().length) + review());
  assert.deepEqual(
    fieldValues(await within(readResponse(reused.reader), "an answer"), "connection"),
    [],
  );
  const leaving = injection.leave();
  await using late = await connectTo(port);
  for (const caller of [reused, late]) {
    await caller.write(head(review().length) + review());
    const response = await within(readResponse(caller.reader), "an answer");
    assert.equal(statusOf(response), 200);
    assert.deepEqual(fieldValues(response, "connection"), ["close"]);
  }
  await leaving;
  await injection.close();
});

Deno.test("refused and failed reviews are logged a few times, and then counted", async () => {
  const log = keptLog();
  const port = freePort();
  const results: string[] = [];
  const injection = injectionOn(port, log, (result) => void results.push(result));
  await injection.start();
  const stop = new AbortController();
  const running = injection.run(stop.signal);
  {
    await using caller = await connectTo(port);
    for (const body of [...Array<string>(50).fill(review()), ...Array<string>(50).fill("{}")]) {
      await caller.write(head(body.length) + body);
      await answerOn(caller);
    }
  }
  stop.abort();
  await running;
  await injection.close();
  assert.equal(results.filter((it) => it === "refused").length, 50);
  assert.equal(results.filter((it) => it === "failed").length, 50);
  const lines = log.lines.filter((line) => /Refused a pod|Could not answer a review/.test(line));
  assert.ok(lines.length < 40, lines.join("\n"));
  assert.match(lines.join("\n"), /Refused a pod .*There is no Tunnel/);
  assert.match(lines.join("\n"), /Refused a pod; \d+ more like this from 127.0.0.1/);
  assert.match(lines.join("\n"), /Could not answer a review; \d+ more like this/);
});
