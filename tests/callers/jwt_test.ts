/** Callers with JWTs of an issuer, whose keys the relay fetches over real sockets. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { exportSPKI, generateKeyPair, SignJWT } from "jose";
import { eventually, untilEqual } from "../support/deadline.ts";
import { errorText } from "../support/error_body.ts";
import { CLUSTER, requestHead, type Tunnel, tunnelled, withTunnel } from "../http/tunnel.ts";
import { bodyText, statusOf, type WireMessage } from "../http/wire.ts";
import { audience, encodePart, Issuer, issuerName, makeKey, sign } from "./issuer.ts";
import { ask, assertForbidden, assertUnknown, bearer, deniedCount } from "./setup.ts";

const rules = [
  { claim: "groups", value: "platform", clusters: ["*"] },
  { claim: "groups", value: "guests", clusters: ["absent"] },
  { claim: ["realm", "roles"], value: "dev", clusters: [CLUSTER] },
  { claim: "sub", value: "repo:example/app:*", clusters: ["ht*"] },
];
const platform = { groups: ["x", "platform"] };

function jwtArgs(url: string): string[] {
  return [
    ...["-caller-jwt-issuer", issuerName, "-caller-jwt-audience", audience],
    ...["-caller-jwks-url", url, "-caller-jwt-rules", JSON.stringify(rules)],
  ];
}

async function withIssuer(
  issuer: Issuer,
  test: (tunnel: Tunnel) => Promise<void>,
): Promise<void> {
  await withTunnel(test, { absent: ["absent"], relayArgs: jwtArgs(issuer.url) });
}

function askWith(tunnel: Tunnel, token: string, cluster = CLUSTER): Promise<WireMessage> {
  return ask(tunnel, `/tunnel/${cluster}/x`, [bearer(token)]);
}

async function assertServed(tunnel: Tunnel, token: string, why: string): Promise<void> {
  const answer = await askWith(tunnel, token);
  equal(bodyText(answer), "GET /x", why);
}

Deno.test("a JWT of the issuer is accepted, and its claims open clusters by rule", async (t) => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  await withIssuer(issuer, async (tunnel) => {
    const cases: [string, Record<string, unknown>, "served" | "forbidden"][] = [
      ["a member of a list", platform, "served"],
      ["the claim itself", { groups: "platform" }, "served"],
      ["a claim in an object", { realm: { roles: ["a", "dev"] } }, "served"],
      ["a beginning", { sub: "repo:example/app:ref:main" }, "served"],
      ["a rule for another cluster", { groups: ["guests"] }, "forbidden"],
      ["no rule", {}, "forbidden"],
      ["a part of the value", { groups: ["platform-readers", "plat"] }, "forbidden"],
      ["the value in an object", { groups: { platform: true } }, "forbidden"],
      ["the way only begun", { realm: "dev" }, "forbidden"],
      ["a name of the prototype's", { realm: { roles: {} } }, "forbidden"],
      ["another beginning", { sub: "repo:example/apple" }, "forbidden"],
    ];
    for (const [what, claims, outcome] of cases) {
      await tunnel.step(t, `${what}: ${outcome}`, async () => {
        const token = await sign(key, claims);
        if (outcome === "served") return await assertServed(tunnel, token, what);
        assertForbidden(await askWith(tunnel, token), what);
      });
    }

    await tunnel.step(t, "every accepted algorithm", async () => {
      for (const alg of ["RS256", "PS512", "ES384", "Ed25519", "EdDSA"]) {
        const other = await makeKey(alg, alg);
        issuer.keys = [key, other];
        await using fresh = new Issuer([other]);
        await withIssuer(fresh, async (second) => {
          await assertServed(second, await sign(other, platform), alg);
        });
      }
    });

    await tunnel.step(t, "the log has the subject, and no JWT", async () => {
      const token = await sign(key, { ...platform, sub: "alice" });
      await assertServed(tunnel, token, "alice");
      await tunnel.relay.waitForLog((line) =>
        line.message === "Request" && line.caller === "alice" && line.caller_kind === "jwt"
      );
      const log = tunnel.relay.program.logText();
      ok(!log.includes(token) && !log.includes(token.split(".")[1]!));
    });
  });
});

Deno.test("a JWT that is not what it must be is refused, all in the same words", async (t) => {
  const key = await makeKey("one");
  const rsa = await makeKey("rsa", "RS256");
  const impostor = { ...await makeKey("one") };
  const stranger = await makeKey("stranger");
  await using issuer = new Issuer([key, rsa]);
  const good = await sign(key, platform);
  const [head, body, signature] = good.split(".") as [string, string, string];
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: issuerName, aud: audience, sub: "x", exp: now + 300, ...platform };
  const hs256 = async (secret: Uint8Array, header: Record<string, unknown>) =>
    await new SignJWT(claims).setProtectedHeader({ alg: "HS256", ...header }).sign(secret);
  const publicPem = async () => {
    const { publicKey } = await generateKeyPair("RS256", { extractable: true });
    return new TextEncoder().encode(await exportSPKI(publicKey));
  };
  const publicJwk = new TextEncoder().encode(JSON.stringify(rsa.publicJwk));
  const changed = encodePart({ ...claims, sub: "admin" });
  const cases: [string, string, string][] = [
    ["expired", await sign(key, platform, { expiresIn: -60 }), "expired"],
    ["not yet valid", await sign(key, platform, { validIn: 120 }), "not_yet_valid"],
    ["of another issuer", await sign(key, { ...platform, iss: "https://evil.example" }), "issuer"],
    ["without an issuer", await sign(key, { ...platform, iss: undefined }), "issuer"],
    ["for another audience", await sign(key, { ...platform, aud: ["a", "b"] }), "audience"],
    ["without an audience", await sign(key, { ...platform, aud: undefined }), "audience"],
    ["without an end", await sign(key, { ...platform, exp: undefined }), "claim"],
    ["with an end that is no number", await sign(key, { ...platform, exp: "never" }), "claim"],
    ["without a subject", await sign(key, { ...platform, sub: undefined }), "claim"],
    ["signed with none", `${encodePart({ alg: "none" })}.${body}.`, "algorithm"],
    ["signed with None", `${encodePart({ alg: "None", kid: "one" })}.${body}.`, "algorithm"],
    [
      "HS256 with the public key in PEM",
      await hs256(await publicPem(), { kid: "rsa" }),
      "algorithm",
    ],
    ["HS256 with the public JWK", await hs256(publicJwk, { kid: "rsa" }), "algorithm"],
    ["of a key that is not published", await sign(stranger, platform), "unknown_key"],
    ["of another key under the same id", await sign(impostor, platform), "signature"],
    ["with other claims", `${head}.${changed}.${signature}`, "signature"],
    ["without its signature", `${head}.${body}.`, "signature"],
    [
      "another algorithm for its key",
      `${encodePart({ alg: "RS256", kid: "one" })}.${body}.AAAA`,
      "unknown_key",
    ],
    [
      "with a critical field that nobody knows",
      `${encodePart({ alg: "ES256", kid: "one", crit: ["x"], x: 1 })}.${body}.${signature}`,
      "malformed",
    ],
    ["with a head that is no JSON", `AAAA.${body}.${signature}`, "malformed"],
    ["with claims that are no object", `${head}.${encodePart([1])}.${signature}`, "signature"],
    ["of four parts", `${good}.AAAA`, "unknown_token"],
    ["with a key of its own in its head", await withOwnKey(), "unknown_key"],
  ];
  await withIssuer(issuer, async (tunnel) => {
    await assertServed(tunnel, good, "the good one");
    for (const [what, token, reason] of cases) {
      await tunnel.step(t, what, async () => {
        const before = await deniedCount(tunnel, reason);
        assertUnknown(await askWith(tunnel, token), what);
        await untilEqual(() => deniedCount(tunnel, reason), before + 1);
        assertUnknown(await askWith(tunnel, token, "absent"), `${what}, without an agent`);
      });
    }
    await assertServed(tunnel, good, "the good one, afterwards");
  });

  async function withOwnKey(): Promise<string> {
    const jwk = stranger.publicJwk;
    return await new SignJWT(claims)
      .setProtectedHeader({ alg: "ES256", kid: "stranger", jwk, jku: "http://127.0.0.1:9/keys" })
      .sign(stranger.privateKey);
  }
});

Deno.test("clocks may differ by half a minute", async () => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  await withIssuer(issuer, async (tunnel) => {
    await assertServed(tunnel, await sign(key, platform, { expiresIn: -15 }), "just expired");
    await assertServed(tunnel, await sign(key, platform, { validIn: 20 }), "not quite valid");
  });
});

Deno.test("a JWT that expires stops being accepted on the connection that showed it", async () => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  await withIssuer(issuer, async (tunnel) => {
    // The leeway of 30 s ends 6 s from now.
    const token = await sign(key, platform, { expiresIn: -24 });
    await using caller = await tunnel.caller();
    const status = async (): Promise<number> => {
      await caller.write(requestHead("GET", tunnelled("/x"), [bearer(token)]));
      return statusOf(await tunnel.answerOn(caller));
    };
    equal(await status(), 200);
    await eventually(async () => await status() === 401, "the end of the token");
  });
});

Deno.test("keys may change: new ones are fetched when a JWT names one, old ones end", async (t) => {
  const [first, second] = [await makeKey("first"), await makeKey("second")];
  await using issuer = new Issuer([first]);
  await withIssuer(issuer, async (tunnel) => {
    await assertServed(tunnel, await sign(first, platform), "the first key");
    issuer.keys = [second];
    const [old, fresh] = [await sign(first, platform), await sign(second, platform)];

    await tunnel.step(t, "the new key is taken, once the issuer may be asked again", async () => {
      await eventually(
        async () => statusOf(await askWith(tunnel, fresh)) === 200,
        "the second key",
        30_000,
      );
    });

    await tunnel.step(t, "the withdrawn key ends with it", async () => {
      assertUnknown(await askWith(tunnel, old), "the first key");
    });

    await tunnel.step(t, "made-up keys do not have the issuer asked each time", async () => {
      const before = issuer.fetches;
      for (let index = 0; index < 8; index++) {
        const stranger = { ...second, id: `stranger-${index}` };
        assertUnknown(await askWith(tunnel, await sign(stranger, platform)), stranger.id);
      }
      ok(issuer.fetches <= before + 1, `${issuer.fetches - before} fetches`);
    });

    await tunnel.step(t, "an issuer that goes away leaves its last keys", async () => {
      issuer.answer = "error";
      const stranger = { ...second, id: "stranger" };
      let hasFailed = false;
      const failed = tunnel.relay.waitForLog(
        ({ message }) => message === "Could not fetch the keys of callers' issuer",
        { what: "an attempt that fails", timeoutMs: 60_000 },
      ).finally(() => hasFailed = true);
      while (!hasFailed) {
        assertUnknown(await askWith(tunnel, await sign(stranger, platform)), "a stranger");
      }
      await failed;
      const line = await tunnel.relay.waitForLog(({ message }) =>
        message === "Could not fetch the keys of callers' issuer"
      );
      deepEqual([line.error, line.usable], ["Status 503, must be 200", true]);
      await assertServed(tunnel, fresh, "the last key");
      await assertServed(tunnel, await sign(second, platform), "another JWT of that key");
    });
  });
});

Deno.test("without any keys callers get 503 until the issuer is there", async (t) => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  issuer.answer = "error";
  await withIssuer(issuer, async (tunnel) => {
    const unavailable = "the relay can't verify callers at the moment";
    const assertUnavailable = async () => {
      const answer = await askWith(tunnel, await sign(key, platform));
      equal(bodyText(answer), errorText(503, "callers_unavailable", unavailable));
      equal(statusOf(answer), 503);
    };

    await tunnel.step(t, "503, whatever the JWT's signature, and a log line", async () => {
      await assertUnavailable();
      const line = await tunnel.relay.waitForLog(({ message }) =>
        message === "Could not fetch the keys of callers' issuer"
      );
      equal(line.usable, false);
      ok(await deniedCount(tunnel, "keys_unavailable") > 0);
    });

    await tunnel.step(t, "what needs no key is still refused for what it is", async () => {
      assertUnknown(await askWith(tunnel, `${encodePart({ alg: "none" })}.e30.`), "none");
      assertUnknown(await ask(tunnel, tunnelled("/x")), "no credential");
    });

    await tunnel.step(t, "200 once the issuer answers", async () => {
      issuer.answer = "keys";
      const token = await sign(key, platform);
      await eventually(
        async () => statusOf(await askWith(tunnel, token)) === 200,
        "the keys",
        30_000,
      );
      const metrics = await (await fetch(`http://${tunnel.relay.internalAddress}/metrics`)).text();
      match(metrics, /^culvert_caller_keys_fetches_total\{result="ok"\} 1$/m);
      match(metrics, /^culvert_caller_keys_fetches_total\{result="failed"\} [1-9]\d*$/m);
      const [, fetched] = /^culvert_caller_keys_fetched_timestamp_seconds (\S+)$/m.exec(metrics)!;
      const secondsAgo = Date.now() / 1000 - Number(fetched);
      ok(secondsAgo >= 0 && secondsAgo < 60, `${secondsAgo} s ago`);
    });
  });
});
