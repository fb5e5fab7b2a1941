/** Callers with bearer tokens: who is let in, to which cluster, and what the others learn. */
import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { withFolder } from "../support/certificates.ts";
import { untilEqual, within } from "../support/deadline.ts";
import { record } from "../http/playing.ts";
import { CLUSTER, requestHead, type Tunnel, tunnelled, withTunnel } from "../http/tunnel.ts";
import {
  bodyText,
  readWireHead,
  statusOf,
  valuesOf,
  type WireField,
  type WireMessage,
} from "../http/wire.ts";
import { ask, assertForbidden, assertUnknown, bearer, deniedCount } from "./setup.ts";

const tokens = {
  all: "token-for-all-clusters-1",
  own: "token-for-one-cluster-22",
  prefix: "token-for-a-prefix-33333",
  hashed: "token-known-by-digest-44",
  expired: "token-that-has-expired-5",
  elsewhere: "token-for-elsewhere-6666",
};

async function sha256(text: string): Promise<string> {
  const bytes = new TextEncoder().encode(text);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

async function entries(): Promise<Record<string, unknown>[]> {
  return [
    { name: "all", token: tokens.all, clusters: ["*"] },
    { name: "own", token: tokens.own, clusters: [CLUSTER] },
    { name: "prefix", token: tokens.prefix, clusters: ["other", "ht*"] },
    { name: "hashed", tokenSha256: (await sha256(tokens.hashed)).toUpperCase(), clusters: ["*"] },
    { name: "expired", token: tokens.expired, clusters: ["*"], expires: "2020-01-01T00:00:00Z" },
    { name: "elsewhere", token: tokens.elsewhere, clusters: ["absent", "ghost-*"] },
  ];
}

async function withTokens(test: (tunnel: Tunnel) => Promise<void>): Promise<void> {
  const relayArgs = ["-caller-tokens", JSON.stringify(await entries())];
  await withTunnel(async (tunnel) => {
    await test(tunnel);
    const logs = tunnel.relay.program.logText();
    for (const token of Object.values(tokens)) ok(!logs.includes(token), "a token is in the log");
  }, { absent: ["absent"], relayArgs });
}

/** An answer without what differs between any two. */
function shapeOf({ startLine, fields, body }: WireMessage): unknown {
  const isSame = ([name]: WireField) => !["x-request-id", "date"].includes(name.toLowerCase());
  return { startLine, fields: fields.filter(isSame), body };
}

Deno.test("a token opens the clusters of its entry and no others", async (t) => {
  await withTokens(async (tunnel) => {
    const cases: [keyof typeof tokens, "served" | "forbidden" | "unknown"][] = [
      ["all", "served"],
      ["own", "served"],
      ["prefix", "served"],
      ["hashed", "served"],
      ["elsewhere", "forbidden"],
      ["expired", "unknown"],
    ];
    for (const [name, outcome] of cases) {
      await tunnel.step(t, `${name}: ${outcome}`, async () => {
        const answer = await ask(tunnel, tunnelled("/x"), [bearer(tokens[name])]);
        if (outcome === "forbidden") return assertForbidden(answer, name);
        if (outcome === "unknown") return assertUnknown(answer, name);
        equal(bodyText(answer), "GET /x");
      });
    }

    await tunnel.step(
      t,
      "the log has the callers' names, and why others were refused",
      async () => {
        await tunnel.relay.waitForLog((line) =>
          line.message === "Request" && line.caller === "prefix" && line.caller_kind === "token"
        );
        const refused = await tunnel.relay.waitForLog((line) =>
          line.message === "Refused a caller" && line.reason === "cluster"
        );
        deepEqual([refused.caller, refused.cluster], ["elsewhere", CLUSTER]);
        await untilEqual(() => deniedCount(tunnel, "expired"), 1);
        await untilEqual(() => deniedCount(tunnel, "cluster"), 1);
      },
    );
  });
});

Deno.test("what is no valid credential is refused, in the same words", async (t) => {
  await withTokens(async (tunnel) => {
    const good = bearer(tokens.all);
    const cases: [string, string[], string][] = [
      ["nothing", [], "missing"],
      ["another scheme", [`Authorization: Basic ${btoa(`x:${tokens.all}`)}`], "malformed"],
      ["the token alone", [`Authorization: ${tokens.all}`], "malformed"],
      ["no token", ["Authorization: Bearer"], "malformed"],
      ["two of them", [good, good], "malformed"],
      ["a list of two", [`${good}, Bearer ${tokens.own}`], "unknown_token"],
      ["a beginning", [bearer(tokens.all.slice(0, -1))], "unknown_token"],
      ["one character more", [bearer(`${tokens.all}1`)], "unknown_token"],
      ["upper case", [bearer(tokens.all.toUpperCase())], "unknown_token"],
      ["its digest", [bearer(await sha256(tokens.hashed))], "unknown_token"],
      ["something like a JWT", [bearer("eyJhbGciOiJub25lIn0.e30.")], "unknown_token"],
      ["the agent's token", [bearer("http-room-token-0123456789")], "unknown_token"],
      ["a very long one", [bearer("x".repeat(50_000))], "unknown_token"],
      ["in the query", [], "missing"],
    ];
    for (const [what, fields, reason] of cases) {
      await tunnel.step(t, what, async () => {
        const before = await deniedCount(tunnel, reason);
        const path = what === "in the query" ? `/x?access_token=${tokens.all}` : "/x";
        const answer = await ask(tunnel, tunnelled(path), fields);
        assertUnknown(answer, what);
        deepEqual(valuesOf(answer, "www-authenticate"), ["Bearer"]);
        await untilEqual(() => deniedCount(tunnel, reason), before + 1);
      });
    }
  });
});

Deno.test("a refusal does not tell whether there is such a cluster, or an agent", async (t) => {
  await withTokens(async (tunnel) => {
    for (
      const [what, fields, status] of [
        ["no credential", [], 401],
        ["a wrong one", [bearer("nobody-s-token-at-all-00")], 401],
        ["one for other clusters", [bearer(tokens.expired)], 401],
      ] as const
    ) {
      await tunnel.step(t, what, async () => {
        const answers = [];
        for (const cluster of [CLUSTER, "absent", "ghost", "%2e", "x".repeat(300)]) {
          answers.push(await ask(tunnel, `/tunnel/${cluster}/a`, fields));
        }
        for (const answer of answers) {
          equal(statusOf(answer), status);
          deepEqual(shapeOf(answer), shapeOf(answers[0]!));
        }
      });
    }

    await tunnel.step(t, "a known caller, asking for what is not its own", async () => {
      const fields = [bearer(tokens.own)];
      const absent = await ask(tunnel, "/tunnel/absent/a", fields);
      const unknown = await ask(tunnel, "/tunnel/nowhere/a", fields);
      assertForbidden(absent, "a cluster without an agent");
      deepEqual(shapeOf(absent), shapeOf(unknown));
      const connected = await ask(tunnel, tunnelled("/a"), [bearer(tokens.elsewhere)]);
      deepEqual(shapeOf(absent), shapeOf(connected));
    });

    await tunnel.step(t, "within its own clusters it learns no more than before", async () => {
      const absent = await ask(tunnel, "/tunnel/absent/a", [bearer(tokens.elsewhere)]);
      const unknown = await ask(tunnel, "/tunnel/ghost-1/a", [bearer(tokens.elsewhere)]);
      equal(statusOf(absent), 502);
      deepEqual(shapeOf(absent), shapeOf(unknown));
    });
  });
});

Deno.test("each request on a kept connection is looked at by itself", async () => {
  await withTokens(async (tunnel) => {
    await using caller = await tunnel.caller();
    const cases: [string[], number][] = [
      [[bearer(tokens.own)], 200],
      [[bearer(tokens.own)], 200],
      [[], 401],
      [[bearer(tokens.elsewhere)], 403],
      [[bearer(tokens.all)], 200],
      [[bearer(tokens.all.replace(/.$/, "x"))], 401],
      [[bearer(tokens.own)], 200],
    ];
    for (const [index, [fields, status]] of cases.entries()) {
      await caller.write(requestHead("GET", tunnelled(`/${index}`), fields));
      equal(statusOf(await tunnel.answerOn(caller)), status, `request ${index}`);
    }
    // All at once: the second must not ride on what the first is still being looked at for.
    const pipelined = [[bearer(tokens.hashed)], [], [bearer(tokens.own)]]
      .map((fields, index) => requestHead("GET", tunnelled(`/p${index}`), fields)).join("");
    await caller.write(pipelined);
    const statuses = [];
    for (let index = 0; index < 3; index++) statuses.push(statusOf(await tunnel.answerOn(caller)));
    deepEqual(statuses, [200, 401, 200]);
  });
});

Deno.test("a request that is refused does not reach the agent, its body neither", async () => {
  await withTokens(async (tunnel) => {
    const requests = record(tunnel, "/upload");
    const body = "x".repeat(1000);
    const head = requestHead("POST", tunnelled("/upload"), [`Content-Length: ${body.length}`]);
    const answer = await tunnel.ask(head, body);
    assertUnknown(answer, "an upload without a credential");
    const fields = [`Content-Length: ${body.length}`, bearer(tokens.own)];
    const served = await tunnel.ask(requestHead("POST", tunnelled("/upload"), fields), body);
    equal(statusOf(served), 200);
    deepEqual(requests.map((request) => bodyText(request)), [body]);
  });
});

Deno.test("a WebSocket handshake may bring the token as a subprotocol, which ends here", async (t) => {
  const bearerProtocol = (token: string) =>
    "base64url.bearer.authorization.k8s.io." +
    new TextEncoder().encode(token).toBase64({ alphabet: "base64url", omitPadding: true });
  await withTokens(async (tunnel) => {
    const handshake = (protocols: readonly string[], more: readonly string[] = []) =>
      requestHead("GET", tunnelled("/exec"), [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ...protocols.map((protocol) => `Sec-WebSocket-Protocol: ${protocol}`),
        ...more,
      ]);

    await tunnel.step(t, "a right one is let in", async () => {
      const seen: string[][] = [];
      tunnel.scripts.set("/exec", async ({ head, connection }) => {
        seen.push(valuesOf(head, "sec-websocket-protocol"));
        await connection.write(
          "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
        );
        await connection.closed;
      });
      await using caller = await tunnel.caller();
      await caller.write(handshake([`v5.channel.k8s.io, ${bearerProtocol(tokens.own)}`]));
      const head = await within(readWireHead(caller.reader), "the 101");
      equal(statusOf(head), 101);
      equal(new TextDecoder().decode(await within(caller.reader.readExactly(2), "hi")), "hi");
      deepEqual(seen, [["v5.channel.k8s.io"]], "the target must not see the token");
    });

    const wrong: [string, string[], string[]][] = [
      ["a wrong token", [`v5.channel.k8s.io, ${bearerProtocol("nobody-s-token-000000000")}`], []],
      ["two tokens", [`${bearerProtocol(tokens.own)}, ${bearerProtocol(tokens.all)}`], []],
      ["in two lines", [bearerProtocol(tokens.own), bearerProtocol(tokens.own)], []],
      ["no base64", ["base64url.bearer.authorization.k8s.io.***"], []],
      ["nothing in it", ["base64url.bearer.authorization.k8s.io."], []],
      ["no token", ["v5.channel.k8s.io"], []],
      ["a wrong header beside it", [bearerProtocol(tokens.own)], [
        bearer("wrong-token-000000000000"),
      ]],
    ];
    for (const [what, protocols, more] of wrong) {
      await tunnel.step(t, `${what} is not`, async () => {
        assertUnknown(await tunnel.ask(handshake(protocols, more)), what);
      });
    }

    await tunnel.step(t, "without a handshake it counts for nothing", async () => {
      const fields = [`Sec-WebSocket-Protocol: ${bearerProtocol(tokens.own)}`];
      assertUnknown(await ask(tunnel, tunnelled("/exec"), fields), "no handshake");
    });
  });
});

Deno.test("probes and metrics need no credential of a caller", async () => {
  await withTokens(async (tunnel) => {
    for (const path of ["/healthz", "/readyz", "/metrics"]) {
      const response = await fetch(`http://${tunnel.relay.internalAddress}${path}`);
      equal(response.status, 200, path);
      doesNotMatch(await response.text(), /token-for/);
    }
    for (const path of ["/tunnel", "/tunnel/", "/tunnel//x", "/nothing"]) {
      equal(statusOf(await ask(tunnel, path)), 404, path);
    }
  });
});

Deno.test("many wrong credentials are answered slowly, and right ones at once", async () => {
  await withTokens(async (tunnel) => {
    const wrong = () => ask(tunnel, tunnelled("/x"), [bearer("nobody-s-token-at-all-00")]);
    const right = () => ask(tunnel, tunnelled("/x"), [bearer(tokens.own)]);
    let answered = 0;
    const guesses = Array.from({ length: 60 }, async () => {
      const answer = await wrong();
      answered++;
      return statusOf(answer);
    });
    equal(statusOf(await right()), 200);
    const statuses = await Promise.all(guesses);
    equal(answered, statuses.length);
    const count = (status: number) => statuses.filter((each) => each === status).length;
    deepEqual([count(401) + count(429), count(401) >= 42], [60, true], JSON.stringify(statuses));
    ok(count(429) > 0, "over those that wait, there is no waiting");
    equal(statusOf(await right()), 200);
    await untilEqual(() => deniedCount(tunnel, "unknown_token"), 60);
    const log = await tunnel.relay.completeLog();
    const lines = log.filter(({ message }) => message === "Refused a caller");
    ok(lines.length < 60, `${lines.length} lines`);
  });
});

Deno.test("a tokens file that changes counts at once, a broken one does not", async (t) => {
  await withFolder(async (folder) => {
    const path = `${folder}/callers.json`;
    const put = async (text: string) => {
      await Deno.writeTextFile(`${path}.new`, text);
      await Deno.rename(`${path}.new`, path);
    };
    const entry = (name: string, token: string, clusters = ["*"]) => ({ name, token, clusters });
    await put(JSON.stringify([entry("old", tokens.own)]));
    await withTunnel(async (tunnel) => {
      await using kept = await tunnel.caller();
      const askKept = async (token: string): Promise<number> => {
        await kept.write(requestHead("GET", tunnelled("/x"), [bearer(token)]));
        return statusOf(await tunnel.answerOn(kept));
      };
      const reloaded = (count: number) =>
        tunnel.relay.waitForLogs(count, ({ message }) => message === "Configuration reloaded");

      await tunnel.step(t, "a second token beside the first", async () => {
        equal(await askKept(tokens.own), 200);
        equal(await askKept(tokens.all), 401);
        await put(JSON.stringify([entry("old", tokens.own), entry("new", tokens.all)]));
        await reloaded(1);
        deepEqual([await askKept(tokens.own), await askKept(tokens.all)], [200, 200]);
      });

      await tunnel.step(t, "the first one taken away, on a kept connection too", async () => {
        equal(await askKept(tokens.own), 200);
        await put(JSON.stringify([entry("new", tokens.all)]));
        await reloaded(2);
        deepEqual([await askKept(tokens.own), await askKept(tokens.all)], [401, 200]);
      });

      await tunnel.step(t, "other clusters for the same token", async () => {
        await put(JSON.stringify([entry("new", tokens.all, ["elsewhere"])]));
        await reloaded(3);
        equal(await askKept(tokens.all), 403);
        await put(JSON.stringify([entry("new", tokens.all)]));
        await reloaded(4);
      });

      await tunnel.step(
        t,
        "one that is half written is refused, and the old one stays",
        async () => {
          await put(`[{"name": "new", "token": "${tokens.hashed}", "clu`);
          const line = await tunnel.relay.waitForLog(({ message }) =>
            message === "Refused a changed configuration; the previous one stays in use"
          );
          match(
            String(line.reason),
            /^Caller tokens file ".*callers.json": it is not JSON at line 1/,
          );
          equal(await askKept(tokens.all), 200);
          ok(!tunnel.relay.program.logText().includes(tokens.hashed));
        },
      );
    }, { relayArgs: ["-caller-tokens", path] });
  });
});
