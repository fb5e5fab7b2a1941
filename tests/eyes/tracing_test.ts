/** Trace context on its way, and spans as a collector gets them from the real programs. */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { okWith, requestHead, Scripts, tunnelled, withTunnel } from "../http/tunnel.ts";
import { CLUSTER, CREDENTIAL, TOKEN } from "../http/tunnel.ts";
import { latin1, readWireResponse, statusOf, valuesOf, type WireMessage } from "../http/wire.ts";
import { eventually, within } from "../support/deadline.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import { openConnection } from "../support/raw_connection.ts";
import { startRawTarget } from "../support/target.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const traceparent = `00-${traceId}-b7ad6b7169203331-01`;

/** A span as the collector's protocol (OTLP, in JSON) has it. */
interface ReceivedSpan {
  readonly service: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly status: number;
  readonly attributes: Readonly<Record<string, unknown>>;
}

interface Attribute {
  readonly key: string;
  readonly value: { readonly stringValue?: string; readonly doubleValue?: number };
}

function valuesIn(attributes: readonly Attribute[]): Record<string, unknown> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [key, value.stringValue ?? value.doubleValue]),
  );
}

// deno-lint-ignore no-explicit-any -- The protocol's JSON, of which the test reads a part.
function spansIn(body: any): ReceivedSpan[] {
  const spans: ReceivedSpan[] = [];
  for (const { resource, scopeSpans } of body.resourceSpans) {
    const service = String(valuesIn(resource.attributes)["service.name"]);
    for (const scope of scopeSpans) {
      for (const span of scope.spans) {
        const { traceId, spanId, parentSpanId = "", name, kind, attributes, status } = span;
        spans.push({
          service,
          traceId,
          spanId,
          parentSpanId,
          name,
          kind,
          status: status?.code ?? 0,
          attributes: valuesIn(attributes),
        });
      }
    }
  }
  return spans;
}

/** A collector that keeps what it gets. */
class Collector implements AsyncDisposable {
  readonly spans: ReceivedSpan[] = [];
  /** Everything that came, as it came. */
  text = "";
  readonly #server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen() {} },
    async (request) => {
      const text = await request.text();
      this.text += text;
      if (new URL(request.url).pathname === "/v1/traces") {
        this.spans.push(
          ...spansIn(JSON.parse(text)),
        );
      }
      return Response.json({});
    },
  );

  /** What makes a program export its spans here. */
  env(service: string): Record<string, string> {
    return {
      OTEL_DENO: "true",
      OTEL_SERVICE_NAME: service,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${this.#server.addr.port}`,
      OTEL_BSP_SCHEDULE_DELAY: "100",
      OTEL_TRACES_SAMPLER: "parentbased_always_on",
    };
  }

  /** The spans of one request, once both programs have sent theirs. */
  async of(requestId: string): Promise<{ relay: ReceivedSpan; agent: ReceivedSpan }> {
    const found = (service: string) =>
      this.spans.find((span) =>
        span.service === service && span.attributes["culvert.request_id"] === requestId
      );
    await eventually(
      () => found("relay") !== undefined && found("agent") !== undefined,
      () => `the spans of ${requestId} among ${JSON.stringify(this.spans)}`,
    );
    return { relay: found("relay")!, agent: found("agent")! };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

Deno.test("trace context passes as it is when spans are off", async () => {
  await withTunnel(async (tunnel) => {
    const requests: WireMessage[] = [];
    tunnel.scripts.set("/context", async ({ connection, request }) => {
      requests.push(await request());
      await connection.write(okWith("ok"));
    });
    const fields = [`TraceParent: ${traceparent}`, "tracestate: a=1,b=2", "Tracestate: c=3"];
    await tunnel.ask(requestHead("GET", tunnelled("/context"), fields));
    await tunnel.ask(requestHead("GET", tunnelled("/context"), ["traceparent: nonsense"]));
    await tunnel.ask(requestHead("GET", tunnelled("/context")));
    const seen = requests.map((request) => [
      valuesOf(request, "traceparent"),
      valuesOf(request, "tracestate"),
    ]);
    deepEqual(seen, [[[traceparent], ["a=1,b=2", "c=3"]], [["nonsense"], []], [[], []]]);
    ok(requests[0]!.fields.some(([name]) => name === "TraceParent"), "in the caller's spelling");
  });
});

Deno.test("with OTEL_DENO the spans of relay and agent are one trace", async (t) => {
  await using collector = new Collector();
  const scripts = new Scripts();
  const requests: WireMessage[] = [];
  scripts.otherwise = async ({ connection, request }) => {
    requests.push(await request());
    await connection.write(okWith("ok"));
  };
  await using target = await startRawTarget((connection) => scripts.serve(connection));
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: TOKEN, targetAddr: target.address }],
    args: ["-grace", "500ms"],
    env: collector.env("relay"),
  });
  await using _agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: TOKEN,
    target: target.address,
    credential: CREDENTIAL,
    args: ["-grace", "500ms"],
    env: collector.env("agent"),
  });
  await relay.waitForAgent(CLUSTER);
  /** Sends a request; its id is that of its path. */
  const ask = async (path: string, fields: readonly string[] = [], method = "GET") => {
    await using caller = await openConnection(relay.internalAddress);
    const id = path.slice(1).split("?")[0]!;
    await caller.write(
      latin1(requestHead(method, tunnelled(path), [`X-Request-Id: ${id}`, ...fields])),
    );
    const answer = await within(readWireResponse(caller.reader, method), "an answer");
    return { answer, at: requests.at(-1)! };
  };
  const step = (name: string, fn: () => Promise<void>) =>
    t.step({ name, fn, sanitizeOps: false, sanitizeResources: false });

  await step("the caller's trace goes on: relay, agent, target", async () => {
    const fields = [
      `traceparent: ${traceparent}`,
      "tracestate: a=1",
      "Authorization: Bearer s3cret",
    ];
    const { at } = await ask("/one?token=s3cret", fields);
    const spans = await collector.of("one");
    equal(spans.relay.traceId, traceId);
    equal(spans.relay.parentSpanId, "b7ad6b7169203331");
    equal(spans.agent.traceId, traceId);
    equal(spans.agent.parentSpanId, spans.relay.spanId);
    deepEqual(valuesOf(at, "traceparent"), [`00-${traceId}-${spans.agent.spanId}-01`]);
    deepEqual(valuesOf(at, "tracestate"), ["a=1"]);
    const line = await relay.waitForLog((line) => line["request_id"] === "one");
    equal(line["trace_id"], traceId);
  });

  await step("what the spans say", async () => {
    const { relay: server, agent: client } = await collector.of("one");
    const [host, port] = target.address.split(":");
    const { "culvert.agent.instance": instance, ...attributes } = server.attributes;
    match(String(instance), /^[0-9a-f-]{36}$/);
    deepEqual([server.name, server.kind, server.status], ["GET /tunnel/{cluster}", 2, 0]);
    deepEqual(attributes, {
      "http.request.method": "GET",
      "http.route": "/tunnel/{cluster}",
      "http.response.status_code": 200,
      "url.path": `/tunnel/${CLUSTER}/one`,
      "url.scheme": "http",
      "client.address": "127.0.0.1",
      "culvert.cluster": CLUSTER,
      "culvert.request_id": "one",
      "culvert.caller": "network",
    });
    deepEqual([client.name, client.kind, client.status], ["GET", 3, 0]);
    deepEqual(client.attributes, {
      "http.request.method": "GET",
      "http.response.status_code": 200,
      "url.path": "/one",
      "server.address": host,
      "server.port": Number(port),
      "culvert.request_id": "one",
    });
  });

  await step("without a trace, or with a broken one, the relay begins one", async () => {
    const broken = [
      [],
      ["traceparent: nonsense", "tracestate: a=1"],
      [`traceparent: 00-${"0".repeat(32)}-b7ad6b7169203331-01`],
      [`traceparent: ff-${traceId}-b7ad6b7169203331-01`],
      [`traceparent: ${traceparent}`, `traceparent: ${traceparent}`],
    ];
    for (const [index, fields] of broken.entries()) {
      const { at } = await ask(`/fresh-${index}`, fields);
      const spans = await collector.of(`fresh-${index}`);
      notEqual(spans.relay.traceId, traceId);
      equal(spans.relay.parentSpanId.replaceAll("0", ""), "");
      equal(spans.agent.traceId, spans.relay.traceId);
      equal(spans.agent.parentSpanId, spans.relay.spanId);
      deepEqual(valuesOf(at, "traceparent").map((value) => value.split("-")[1]), [
        spans.relay.traceId,
      ]);
      deepEqual(valuesOf(at, "tracestate"), []);
    }
  });

  await step("a trace that is not sampled stays so", async () => {
    const { at } = await ask("/unsampled", [`traceparent: 00-${traceId}-b7ad6b7169203331-00`]);
    match(valuesOf(at, "traceparent")[0]!, new RegExp(`^00-${traceId}-[0-9a-f]{16}-00$`));
  });

  await step(
    "a failure is one in both spans, and an odd method has no name of its own",
    async () => {
      scripts.set("/broken", async ({ connection, request }) => {
        await request();
        await connection.write("HTTP/9 what\r\n\r\n");
      });
      const { answer } = await ask("/broken", [], "BREW");
      equal(statusOf(answer), 502);
      const spans = await collector.of("broken");
      for (const [span, type] of [[spans.relay, "protocol"], [spans.agent, "protocol"]] as const) {
        equal(span.status, 2);
        equal(span.attributes["error.type"], type);
        equal(span.attributes["http.request.method"], "_OTHER");
      }
      equal(spans.relay.attributes["http.response.status_code"], 502);
    },
  );

  await step("an upgraded connection's spans end with it", async () => {
    scripts.set("/upgrade", async ({ connection }) => {
      await connection.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
      );
      await connection.reader.readExactly(3);
      connection.end();
    });
    await using caller = await openConnection(relay.internalAddress);
    const fields = ["Connection: Upgrade", "Upgrade: x", "X-Request-Id: upgrade"];
    await caller.write(latin1(requestHead("GET", tunnelled("/upgrade"), fields)));
    await caller.reader.readUntil("\r\n\r\n");
    await caller.write(latin1("abc"));
    await caller.reader.readToEnd();
    caller.end();
    const spans = await collector.of("upgrade");
    equal(spans.relay.attributes["http.response.status_code"], 101);
    equal(spans.agent.attributes["http.response.status_code"], 101);
  });

  await step("no credential and no query leaves in a span", () => {
    ok(collector.text.includes("/one"));
    for (const secret of ["s3cret", TOKEN, CREDENTIAL]) {
      ok(!collector.text.includes(secret), secret);
    }
    return Promise.resolve();
  });
});

Deno.test("spans of the last requests leave before the programs end", async () => {
  await using collector = new Collector();
  const scripts = new Scripts();
  await using target = await startRawTarget((connection) => scripts.serve(connection));
  const slow = { OTEL_BSP_SCHEDULE_DELAY: "600000" };
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: TOKEN, targetAddr: target.address }],
    env: { ...collector.env("relay"), ...slow },
  });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: TOKEN,
    target: target.address,
    env: { ...collector.env("agent"), ...slow },
  });
  await relay.waitForAgent(CLUSTER);
  await using caller = await openConnection(relay.internalAddress);
  await caller.write(latin1(requestHead("GET", tunnelled("/last"), ["X-Request-Id: last"])));
  await within(readWireResponse(caller.reader, "GET"), "an answer");
  deepEqual(collector.spans, []);
  equal(await agent.stop(), 0);
  equal(await relay.stop(), 0);
  await collector.of("last");
});
