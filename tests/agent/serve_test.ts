/** The agent's side of a request: a stream from the relay, a raw target over real sockets. */
import assert from "node:assert/strict";
import { createLocalJWKSet, SignJWT } from "jose";
import { Credentials, type TokenFile } from "../../lib/agent/credentials.ts";
import { Impersonator } from "../../lib/agent/impersonator.ts";
import { serve, type ServeContext } from "../../lib/agent/serve.ts";
import { impersonationDemands } from "../../lib/config/entries/identity.ts";
import { UpstreamPool } from "../../lib/net/upstream_pool.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { dialTarget } from "../../lib/runtime/node/dial_target.ts";
import { makeKey } from "../callers/issuer.ts";
import { SessionPair, StreamLog } from "../protocol/session_setup.ts";
import { memory } from "../protocol/transports.ts";
import { bytesOf } from "../protocol/wire.ts";
import { eventually, within } from "../support/deadline.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { type RawMessage, readRequest } from "../support/raw_http.ts";
import {
  type RawTarget,
  refusingAddress,
  startRawTarget,
  type TargetHandler,
} from "../support/target.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

interface SetupOptions {
  readonly tokenFile?: TokenFile;
  readonly address?: string;
  readonly credential?: { readonly header: string; readonly scheme: string };
  readonly hosts?: ServeContext["hosts"];
  readonly impersonator?: Impersonator;
}

/** An agent without a program around it. */
class Setup implements AsyncDisposable {
  readonly pair: SessionPair;
  readonly target: RawTarget;
  readonly pool: UpstreamPool;
  /** `code message` of requests that failed. */
  readonly failures: string[] = [];
  forwardedCount = 0;
  dialCount = 0;

  private constructor(pair: SessionPair, target: RawTarget, pool: UpstreamPool) {
    this.pair = pair;
    this.target = target;
    this.pool = pool;
  }

  static async create(
    handler: TargetHandler,
    { tokenFile, address, credential, hosts, impersonator }: SetupOptions = {},
  ): Promise<Setup> {
    const target = await startRawTarget(handler);
    const [hostname, port] = (address ?? target.address).split(":") as [string, string];
    const options = { hostname, port: Number(port), timeoutMs: 20_000, isTls: false };
    const pool = new UpstreamPool({
      dial: (signal) => {
        setup.dialCount++;
        return dialTarget(options, signal);
      },
      maxIdle: 10,
      idleTimeoutMs: 60_000,
    });
    const context: ServeContext = {
      pool,
      credentials: tokenFile && new Credentials({
        file: tokenFile,
        header: "Authorization",
        scheme: "Bearer",
        origin: "sa-token-path",
        ...credential,
      }),
      hosts,
      impersonator,
      limits: defaultHeadLimits,
      forwarded: () => setup.forwardedCount++,
      failed: ({ code, message }) => setup.failures.push(`${code} ${message}`),
    };
    const opened = (stream: Parameters<typeof serve>[0]) => serve(stream, context);
    const setup = new Setup(await SessionPair.ready(memory, { opened }), target, pool);
    return setup;
  }

  /** Sends a request and ends this direction, as a relay does. */
  ask(request: string): StreamLog {
    const log = new StreamLog(this.pair.relay.open("target:1", bytesOf(request)));
    log.stream.end();
    return log;
  }

  /** Sends a request and waits for the whole answer. */
  async answerTo(request: string): Promise<string> {
    const log = this.ask(request);
    await log.until(() => log.events.length > 0, "the answer's end");
    assert.deepEqual(log.events, ["end"]);
    return log.text;
  }

  /** Makes one exchange, so that a connection to the target is in the pool. */
  async warmUp(): Promise<void> {
    assert.equal(await this.answerTo(request("GET", "/warm-up")), OK);
    await eventually(() => this.pool.idleCount === 1, "the connection to come back");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pair[Symbol.asyncDispose]();
    this.pool.close();
    await this.target[Symbol.asyncDispose]();
  }
}

function request(method: string, path: string, ...lines: string[]): string {
  return [`${method} ${path} HTTP/1.1`, "Host: target:1", ...lines, "", ""].join("\r\n");
}

/** What one connection of a target was asked. */
type Seen = string[][];

/**
 * A target that answers each request on a connection with what `answers` has for it; at a "close" it
 * closes the connection in place of an answer, just as it has read the request.
 */
function scripted(seen: Seen, answers: readonly (readonly string[])[]): TargetHandler {
  return async (connection: RawConnection) => {
    const index = seen.push([]) - 1;
    for (const answer of answers[index] ?? []) {
      seen[index]!.push(summary(await readRequest(connection.reader)));
      if (answer === "close") return connection.end();
      if (answer === "reset") return connection.reset();
      await connection.write(answer);
    }
  };
}

function summary({ startLine, body }: RawMessage): string {
  return `${startLine} ${new TextDecoder().decode(body)}`.trimEnd();
}

const WARM_UP = "GET /warm-up HTTP/1.1";

const tokenFile: TokenFile = {
  version: () => ({ modifiedMs: 1, changedMs: 1, size: 1, inode: 1, isSettled: true }),
  read: () => "sa-token\n",
};

Deno.test("serve puts the credential into the field that was chosen, and drops the caller's in any spelling", async () => {
  const credential = { header: "X-Api-Key", scheme: "" };
  await using setup = await Setup.create(scripted([], [[OK]]), { tokenFile, credential });
  const lines = [
    "x-api-key: a",
    "X_Api_Key: b",
    "X-API-KEY: c",
    "X-Api-Keys: d",
    "Authorization: e",
  ];
  assert.equal(await setup.answerTo(request("GET", "/", ...lines)), OK);
  assert.equal(
    setup.target.connections[0]!.receivedText,
    "GET / HTTP/1.1\r\nHost: target:1\r\nX-Api-Keys: d\r\nAuthorization: e\r\n" +
      "X-Api-Key: sa-token\r\n\r\n",
  );
});

Deno.test("serve passes a caller's Authorization to a target that has no credential", async () => {
  await using setup = await Setup.create(scripted([], [[OK]]));
  assert.equal(await setup.answerTo(request("GET", "/", "Authorization: Basic YTpi")), OK);
  assert.match(setup.target.connections[0]!.receivedText, /^Authorization: Basic YTpi$/m);
});

Deno.test("serve replaces a Host that is the target's name by its address, and no other", async () => {
  const hosts = { name: "target:1", address: "app.svc" };
  await using setup = await Setup.create(scripted([], [[OK, OK]]), { hosts });
  assert.equal(await setup.answerTo(request("GET", "/a")), OK);
  const other = request("GET", "/b").replace("target:1", "hello.example.com");
  assert.equal(await setup.answerTo(other), OK);
  assert.equal(
    setup.target.connections[0]!.receivedText,
    "GET /a HTTP/1.1\r\nHost: app.svc\r\n\r\nGET /b HTTP/1.1\r\nHost: hello.example.com\r\n\r\n",
  );
});

Deno.test("serve sends the request with its own credential and passes the answer on as it is", async () => {
  const answer = "HTTP/1.1 201 Created\r\nconnection: keep-alive\r\nX-A: 1\r\nx-a:  2 \r\n" +
    "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
  await using setup = await Setup.create(scripted([], [[answer]]), { tokenFile });
  const lines = ["Authorization: Bearer stolen", "Accept: a", "accept: b", "Content-Length: 3"];
  assert.equal(await setup.answerTo(request("PUT", "/a//../%2F?q", ...lines) + "abc"), answer);
  const [connection] = setup.target.connections;
  assert.equal(
    connection!.receivedText,
    "PUT /a//../%2F?q HTTP/1.1\r\nHost: target:1\r\nAccept: a\r\naccept: b\r\n" +
      "Content-Length: 3\r\nAuthorization: Bearer sa-token\r\n\r\nabc",
  );
  assert.deepEqual([setup.forwardedCount, setup.failures], [1, []]);
});

Deno.test("serve uses a connection for one request after the other", async () => {
  const seen: Seen = [];
  await using setup = await Setup.create(scripted(seen, [[OK, OK, OK]]));
  await setup.warmUp();
  for (const path of ["/1", "/2"]) assert.equal(await setup.answerTo(request("GET", path)), OK);
  assert.deepEqual(seen, [[WARM_UP, "GET /1 HTTP/1.1", "GET /2 HTTP/1.1"]]);
});

for (const ending of ["close", "reset"]) {
  Deno.test(`serve asks once more when a pooled connection ends by ${ending} as GET comes`, async () => {
    const seen: Seen = [];
    await using setup = await Setup.create(scripted(seen, [[OK, ending], [OK]]));
    await setup.warmUp();
    assert.equal(await setup.answerTo(request("GET", "/again")), OK);
    assert.deepEqual(seen, [[WARM_UP, "GET /again HTTP/1.1"], ["GET /again HTTP/1.1"]]);
    assert.deepEqual([setup.forwardedCount, setup.failures], [2, []]);
  });

  Deno.test(`serve sends POST once when a pooled connection ends by ${ending} as it comes`, async () => {
    const seen: Seen = [];
    await using setup = await Setup.create(scripted(seen, [[OK, ending], [OK]]));
    await setup.warmUp();
    const log = setup.ask(request("POST", "/once", "Content-Length: 4") + "body");
    await log.untilEvent("failed");
    assert.deepEqual(log.events, ["failed reset: The target broke off"]);
    assert.deepEqual(seen, [[WARM_UP, "POST /once HTTP/1.1 body"]]);
    assert.deepEqual([setup.dialCount, setup.failures], [1, ["reset The target broke off"]]);
  });
}

Deno.test("serve asks again only for methods that ask for no change", async () => {
  for (
    const [method, isRepeated] of [
      ["GET", true],
      ["HEAD", true],
      ["OPTIONS", true],
      ["POST", false],
      ["PUT", false],
      ["PATCH", false],
      ["DELETE", false],
      ["MKCOL", false],
      ["get", false],
    ] as const
  ) {
    const seen: Seen = [];
    const answer = method === "HEAD" ? OK.slice(0, -2) : OK;
    await using setup = await Setup.create(scripted(seen, [[OK, "close"], [answer]]));
    await setup.warmUp();
    const log = setup.ask(request(method, "/x"));
    await log.until(() => log.events.length > 0, "the end");
    assert.deepEqual(
      log.events,
      isRepeated ? ["end"] : ["failed reset: The target broke off"],
      method,
    );
    const line = `${method} /x HTTP/1.1`;
    assert.deepEqual(seen, isRepeated ? [[WARM_UP, line], [line]] : [[WARM_UP, line]]);
  }
});

Deno.test("serve sends an upgrade once, whatever its method: it may start something", async () => {
  for (const method of ["GET", "POST"]) {
    const seen: Seen = [];
    await using setup = await Setup.create(scripted(seen, [[OK, "close"], [OK]]));
    await setup.warmUp();
    const lines = ["Connection: Upgrade", "Upgrade: SPDY/3.1"];
    const log = setup.ask(request(method, "/exec", ...lines));
    await log.untilEvent("failed");
    assert.deepEqual(log.events, ["failed reset: The target broke off"]);
    assert.deepEqual(seen, [[WARM_UP, `${method} /exec HTTP/1.1`]]);
    assert.equal(setup.dialCount, 1);
  }
});

Deno.test("serve does not ask again with a body, which has been used up", async () => {
  const seen: Seen = [];
  await using setup = await Setup.create(scripted(seen, [[OK, "close"], [OK]]));
  await setup.warmUp();
  const log = setup.ask(request("GET", "/x", "Content-Length: 1") + "b");
  await log.untilEvent("failed");
  assert.deepEqual(seen, [[WARM_UP, "GET /x HTTP/1.1 b"]]);
});

Deno.test("serve asks again once, not twice", async () => {
  const seen: Seen = [];
  await using setup = await Setup.create(scripted(seen, [[OK, "close"], ["close"], [OK]]));
  await setup.warmUp();
  const log = setup.ask(request("GET", "/x"));
  await log.untilEvent("failed");
  assert.deepEqual(log.events, ["failed reset: The target broke off"]);
  assert.deepEqual(seen, [[WARM_UP, "GET /x HTTP/1.1"], ["GET /x HTTP/1.1"]]);
});

Deno.test("serve does not ask again on a new connection: its end is the target's answer", async () => {
  const seen: Seen = [];
  await using setup = await Setup.create(scripted(seen, [["close"], [OK]]));
  const log = setup.ask(request("GET", "/x"));
  await log.untilEvent("failed");
  assert.deepEqual(seen, [["GET /x HTTP/1.1"]]);
});

Deno.test("serve does not ask again once the answer has begun", async () => {
  const seen: Seen = [];
  const handler: TargetHandler = async (connection) => {
    const index = seen.push([]) - 1;
    seen[index]!.push(summary(await readRequest(connection.reader)));
    await connection.write(OK);
    seen[index]!.push(summary(await readRequest(connection.reader)));
    await connection.write("HTTP/1.1 200");
    connection.end();
  };
  await using setup = await Setup.create(handler);
  await setup.warmUp();
  const log = setup.ask(request("GET", "/x"));
  await log.untilEvent("failed");
  assert.deepEqual(log.events, ["failed reset: The target broke off"]);
  assert.deepEqual(seen, [[WARM_UP, "GET /x HTTP/1.1"]]);
});

Deno.test("serve never passes a cut answer off as a whole one", async () => {
  const cut = [
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "HTTP/1.1 200 OK\r\nContent-Len",
  ];
  for (const answer of cut) {
    const handler: TargetHandler = async (connection) => {
      await readRequest(connection.reader);
      await connection.write(answer);
      connection.end();
    };
    await using setup = await Setup.create(handler);
    const log = setup.ask(request("GET", "/x"));
    await log.untilEvent("failed");
    assert.deepEqual(log.events, ["failed reset: The target broke off"], answer);
  }
});

Deno.test("serve takes the end of the connection for that of an answer without a length", async () => {
  const answer = "HTTP/1.1 200 OK\r\n\r\nup to the end";
  const handler: TargetHandler = async (connection) => {
    await readRequest(connection.reader);
    await connection.write(answer);
    connection.end();
  };
  await using setup = await Setup.create(handler);
  assert.equal(await setup.answerTo(request("GET", "/x")), answer);
  assert.equal(setup.pool.idleCount, 0);
});

Deno.test("serve does not use a connection again on which more came than the answer", async () => {
  const seen: Seen = [];
  await using setup = await Setup.create(
    scripted(seen, [[OK + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"], [OK]]),
  );
  assert.equal(await setup.answerTo(request("GET", "/1")), OK);
  assert.equal(await setup.answerTo(request("GET", "/2")), OK);
  assert.deepEqual(seen, [["GET /1 HTTP/1.1"], ["GET /2 HTTP/1.1"]]);
});

Deno.test("serve does not use a connection again that the target wants to close", async () => {
  const closing = OK.replace("OK\r\n", "OK\r\nConnection: close\r\n");
  const seen: Seen = [];
  await using setup = await Setup.create(scripted(seen, [[closing], [OK]]));
  assert.equal(await setup.answerTo(request("GET", "/1")), closing);
  assert.equal(await setup.answerTo(request("GET", "/2")), OK);
  assert.deepEqual(seen.length, 2);
});

Deno.test("serve ends the answer whole while the request's body still comes, and then drops the rest", async () => {
  const early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n";
  const handler: TargetHandler = async (connection) => {
    await connection.reader.readUntil("\r\n\r\n");
    await connection.write(early);
    await connection.closed;
  };
  await using setup = await Setup.create(handler);
  const upload = request("POST", "/x", "Content-Length: 1000000");
  const log = new StreamLog(setup.pair.relay.open("target:1", bytesOf(upload)));
  await log.untilEvent("closed");
  assert.deepEqual([log.text, log.events], [early, ["end", "closed"]]);
  assert.equal(setup.pool.idleCount, 0);
});

Deno.test("serve refuses what is not valid HTTP and asks the target nothing", async () => {
  const wrong: [string, string][] = [
    ["GET /\r\n\r\n", "Request line is malformed"],
    [request("GET", "/", "A : b"), "Header name is not a token"],
    [request("GET", "/").replace("Host: target:1\r\n", ""), "Host must appear exactly once"],
    [
      request("POST", "/", "Content-Length: 1", "Transfer-Encoding: chunked"),
      "Both Transfer-Encoding and Content-Length are there",
    ],
    [request("GET", "/").slice(0, -2), "The request ended too soon"],
    [request("GET", "/", `A: ${"x".repeat(70_000)}`), "Head is over 65536 bytes"],
  ];
  for (const [text, reason] of wrong) {
    await using setup = await Setup.create(scripted([], []));
    const log = setup.ask(text);
    await log.untilEvent("failed");
    assert.deepEqual(log.events, [`failed protocol: ${reason}`]);
    assert.deepEqual([setup.failures, setup.dialCount], [[`protocol ${reason}`], 0]);
  }
});

Deno.test("serve refuses an answer that is not valid HTTP", async () => {
  const wrong: [string, string][] = [
    ["SSH-2.0-server\r\n\r\n", "It does not begin with HTTP/1."],
    ["HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "Header name is not a token"],
    [
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      "Duplicate Content-Length with different values",
    ],
    [
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
      "Chunk size is not a hexadecimal number",
    ],
    ["HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "It changes protocols unasked"],
  ];
  for (const [answer, reason] of wrong) {
    await using setup = await Setup.create(scripted([], [[answer]]));
    const log = setup.ask(request("GET", "/"));
    await log.untilEvent("failed");
    assert.deepEqual(log.events, [`failed protocol: The target's answer: ${reason}`], answer);
    assert.equal(setup.pool.idleCount, 0);
  }
});

Deno.test("serve sends no request without its credential", async () => {
  const tokenFile = {
    version: () => {
      throw new Error("ENOENT");
    },
    read: () => "",
  };
  await using setup = await Setup.create(scripted([], []), { tokenFile });
  const log = setup.ask(request("GET", "/"));
  await log.untilEvent("failed");
  assert.deepEqual(log.events, [
    "failed credentials: The token can't be read: ENOENT; --sa-token-path must name its file",
  ]);
  assert.equal(setup.dialCount, 0);
});

Deno.test("serve says why there is no connection to the target", async () => {
  await using setup = await Setup.create(scripted([], []), { address: refusingAddress() });
  const log = setup.ask(request("GET", "/"));
  await log.untilEvent("failed");
  assert.match(log.events[0]!, /^failed refused: /);
});

Deno.test("serve ends the request at the target as soon as the caller goes away", async () => {
  const gone = Promise.withResolvers<void>();
  const handler: TargetHandler = async (connection) => {
    await readRequest(connection.reader);
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    await connection.reader.readToEnd();
    gone.resolve();
  };
  await using setup = await Setup.create(handler);
  const log = setup.ask(request("GET", "/watch"));
  await log.untilBytes(50);
  log.stream.close();
  await within(gone.promise, "the end of the request at the target");
  assert.deepEqual([setup.pair.agent.openStreams, setup.failures], [0, []]);
});

Deno.test("serve joins caller and target after a change of protocols", async () => {
  const handler: TargetHandler = async (connection) => {
    await connection.reader.readUntil("\r\n\r\n");
    await connection.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\n\r\nhello ");
    const question = await connection.reader.readToEnd();
    await connection.write(`${new TextDecoder().decode(question)} to you`);
    connection.end();
  };
  await using setup = await Setup.create(handler);
  const head = request("GET", "/exec", "Connection: Upgrade", "Upgrade: raw");
  const log = new StreamLog(setup.pair.relay.open("target:1", bytesOf(`${head}early, `)));
  await log.until(() => log.text.endsWith("hello "), "the change of protocols");
  log.stream.write(bytesOf("late"));
  log.stream.end();
  await log.untilEvent("end");
  assert.equal(log.text.split("\r\n\r\n")[1], "hello early, late to you");
  assert.deepEqual(log.events, ["end"]);
});

const proofKey = await makeKey("one");

/** An agent that impersonates whom an assertion of {@link proofKey} names. */
function impersonating(): Impersonator {
  const demands = impersonationDemands.parse({
    ...{ proof: "assertion", issuer: "login.example.com", audience: ["/tunnel/dev"] },
    ...{ keysFile: "keys.json", prefix: "corp:", groups: ["ops"] },
  });
  const find = createLocalJWKSet({ keys: [proofKey.publicJwk as never] });
  return new Impersonator(demands, { find, nowMs: Date.now });
}

function proofOf(user: string, audience = "/tunnel/dev"): Promise<string> {
  return new SignJWT({ impersonate: { user, groups: ["ops"] }, sid: "s1" })
    .setProtectedHeader({ alg: "ES256", kid: "one" }).setIssuer("login.example.com")
    .setSubject("7335").setAudience(audience).setExpirationTime("1m").sign(proofKey.privateKey);
}

Deno.test("serve acts for whom a request proves to be from, with the agent's own credential", async () => {
  const impersonator = impersonating();
  await using setup = await Setup.create(scripted([], [[OK]]), { impersonator, tokenFile });
  const proof = await proofOf("corp:ann");
  const fields = [`Culvert-Identity: ${proof}`, "Impersonate-User: root", "Content-Length: 4"];
  assert.equal(await setup.answerTo(request("POST", "/pods", ...fields) + "body"), OK);
  assert.equal(
    setup.target.connections[0]!.receivedText,
    "POST /pods HTTP/1.1\r\nHost: target:1\r\nContent-Length: 4\r\n" +
      "Impersonate-User: corp:ann\r\nImpersonate-Group: ops\r\n" +
      "Impersonate-Extra-culvert.dev%2Fsession: s1\r\nAuthorization: Bearer sa-token\r\n\r\nbody",
  );
});

Deno.test("serve dials nothing for a request that proves nobody", async () => {
  await using setup = await Setup.create(() => Promise.resolve(), {
    impersonator: impersonating(),
  });
  const proofs = ["", await proofOf("corp:ann", "/tunnel/other"), await proofOf("admin")];
  for (const proof of proofs) {
    const log = setup.ask(request("GET", "/pods", ...proof ? [`Culvert-Identity: ${proof}`] : []));
    await log.until(() => log.events.length > 0, "the refusal");
    assert.match(log.events[0]!, /credentials/);
  }
  assert.equal(setup.dialCount, 0);
  assert.equal(setup.failures.length, proofs.length);
  assert.ok(!setup.failures.join().includes(proofs[1]!));
});
