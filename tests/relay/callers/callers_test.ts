import assert from "node:assert/strict";
import type { CallersConfig } from "../../../lib/domain/callers.ts";
import { type Caller, Denial, type Identity } from "../../../lib/relay/callers/caller.ts";
import { Callers, type CallersContext, refuseCluster } from "../../../lib/relay/callers/callers.ts";
import { anyName } from "../../../lib/domain/name_patterns.ts";
import {
  maxRemembered,
  rememberedMs,
  VerifiedTokens,
} from "../../../lib/relay/callers/verified_tokens.ts";
import { tokenDigest as digest } from "../../../lib/runtime/node/token_digest.ts";
import { type Field, field } from "../../../lib/http1/head.ts";
import type { Peer } from "../../../lib/net/exchange.ts";
import { audience, Issuer, issuerName, makeKey, sign } from "../../callers/issuer.ts";

/** Two clocks that stand still until they are moved. */
class Clock {
  epochMs = Date.now();
  uptimeMs = 1_000_000;

  nowMs(): number {
    return this.epochMs;
  }

  monotonicMs(): number {
    return this.uptimeMs;
  }

  pass(ms: number): void {
    this.epochMs += ms;
    this.uptimeMs += ms;
  }
}

const plainPeer = (): Peer => ({ address: "192.0.2.1", isTls: false });
const certified = (...names: string[]): Peer => ({
  ...plainPeer(),
  isTls: true,
  certificate: { names, expiresMs: Infinity },
});

function request(peer: Peer, token?: string): { head: { fields: Field[] }; peer: Peer } {
  const fields = token === undefined ? [] : [field("Authorization", `Bearer ${token}`)];
  return { head: { fields }, peer };
}

/** What an identity comes to: kind and name of the caller, or the reason of its denial. */
async function told(identity: Identity | Promise<Identity>): Promise<string> {
  const known = await identity;
  return known instanceof Denial ? known.reason : `${known.kind} ${known.name}`;
}

const one = { name: "one", token: "token-number-one", clusters: ["a"] };
const jwtConfig = (url: string): CallersConfig => ({
  mode: "known",
  jwt: {
    ...{ issuer: issuerName, audience, jwksUrl: url },
    rules: [{ claim: "sub", value: "*", clusters: ["*"] }],
  },
});

Deno.test("Callers that are open take everybody, with nothing to wait for", async () => {
  const callers = await Callers.create({ mode: "open" });
  const identity = callers.identify(request(plainPeer(), "any-token"));
  assert.ok(!(identity instanceof Promise));
  assert.equal(await told(identity), "network network");
  assert.equal(refuseCluster(identity as Caller, "whatever"), undefined);
  assert.equal(await told(callers.identify(request(certified("argocd")))), "certificate argocd");
  assert.equal(await told(callers.identify(request(certified()))), "certificate unnamed");
});

Deno.test("Callers remembers an accepted token, whatever connection it comes over", async () => {
  const callers = await Callers.create({ mode: "known", tokens: [one] }, { digest });
  const peer = plainPeer();
  const first = callers.identify(request(peer, one.token));
  assert.ok(first instanceof Promise);
  const caller = await first;
  assert.equal(callers.identify(request(peer, one.token)), caller, "without a promise");
  assert.equal(callers.identify(request(plainPeer(), one.token)), caller);
  for (const other of ["token-number-on", "token-number-onf", "token-number-onee"]) {
    assert.equal(await told(callers.identify(request(peer, other))), "unknown_token");
  }
  assert.equal(await told(callers.identify(request(peer))), "missing");
});

Deno.test("Callers knows a listed token that begins as those of people's programs do", async () => {
  const ci = { ...one, token: "culvert_made-by-relay-token" };
  const callers = await Callers.create({ mode: "known", tokens: [ci] }, { digest });
  const asked: string[] = [];
  callers.signedIn = {
    identifyToken(sealed) {
      asked.push(sealed);
      return callers.identify(request(plainPeer()));
    },
  };
  assert.equal(await told(callers.identify(request(plainPeer(), ci.token))), "token one");
  assert.equal(
    await told(callers.identify(request(plainPeer(), "culvert_other"))),
    "unknown_token",
  );
  assert.deepEqual(asked, []);
  await callers.identify(request(plainPeer(), "culvert_a.b.c.d.e"));
  assert.deepEqual(asked, ["a.b.c.d.e"]);
});

Deno.test("Callers looks at a token again after a minute, on whatever clock", async () => {
  const clock = new Clock();
  const callers = await Callers.create({ mode: "known", tokens: [one] }, { clock, digest });
  const peer = plainPeer();
  await callers.identify(request(peer, one.token));
  clock.pass(rememberedMs - 1);
  assert.ok(!(callers.identify(request(peer, one.token)) instanceof Promise));
  // Somebody sets the clock back: that must not make it last.
  clock.epochMs -= 3_600_000;
  clock.uptimeMs += 1;
  const again = callers.identify(request(peer, one.token));
  assert.ok(again instanceof Promise);
  assert.equal(await told(again), "token one");
});

Deno.test("Callers refuses a token from its end on, remembered or not, and when the clock jumps", async () => {
  const clock = new Clock();
  const expiresMs = clock.epochMs + 10_000;
  const tokens = [{ ...one, expiresMs }];
  const callers = await Callers.create({ mode: "known", tokens }, { clock });
  const peer = plainPeer();
  assert.equal(await told(callers.identify(request(peer, one.token))), "token one");
  clock.pass(9_999);
  assert.equal(await told(callers.identify(request(peer, one.token))), "token one");
  clock.epochMs += 1;
  assert.equal(await told(callers.identify(request(peer, one.token))), "expired");
  clock.epochMs -= 5_000;
  assert.equal(await told(callers.identify(request(peer, one.token))), "token one");
  clock.epochMs += 86_400_000;
  assert.equal(await told(callers.identify(request(plainPeer(), one.token))), "expired");
});

Deno.test("Callers forgets what it remembered when the lists change, even while it looks", async () => {
  const callers = await Callers.create({ mode: "known", tokens: [one] });
  const peer = plainPeer();
  await callers.identify(request(peer, one.token));
  const underWay = callers.identify(request(peer, `${one.token}-x`));
  const lookedUp = callers.identify(request(plainPeer(), one.token));
  await callers.replaceTokens([{ ...one, name: "two", token: "token-number-two" }]);
  await Promise.all([underWay, lookedUp]);
  assert.equal(await told(callers.identify(request(peer, one.token))), "unknown_token");
  assert.equal(await told(callers.identify(request(peer, "token-number-two"))), "token two");
});

Deno.test("Callers finds a certificate's rules once for a connection, and anew when they change", async () => {
  const rule = { name: "argo*", clusters: ["a"] };
  const callers = await Callers.create({ mode: "known", certificates: [rule] });
  const peer = certified("cn", "argocd.example");
  const caller = callers.identify(request(peer)) as Caller;
  assert.equal(await told(caller), "certificate argocd.example");
  assert.equal(callers.identify(request(peer)), caller);
  assert.equal(refuseCluster(caller, "a"), undefined);
  assert.equal(refuseCluster(caller, "b")?.reason, "cluster");
  callers.replaceCertificates([{ name: "cn", clusters: ["b"] }]);
  const changed = callers.identify(request(peer)) as Caller;
  assert.equal(refuseCluster(changed, "a")?.reason, "cluster");
  assert.equal(refuseCluster(changed, "b"), undefined);
  callers.replaceCertificates([]);
  assert.equal(await told(callers.identify(request(peer))), "unknown_certificate");
  assert.equal(await told(callers.identify(request(plainPeer()))), "missing");
});

Deno.test("Callers tells for the log what issuer and audience a JWT has, and what they must be", async () => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  const callers = await Callers.create(jwtConfig(issuer.url));
  const ours = `--caller-jwt-issuer is "${issuerName}"`;
  const audienceOurs = `--caller-jwt-audience is "${audience}"`;
  const long = "x".repeat(10_000);
  const cases: [Record<string, unknown>, string][] = [
    [
      { iss: `${issuerName}/` },
      `iss is "${issuerName}/", ${ours}; they differ by the slash at the end only`,
    ],
    [{ iss: "https://other.example" }, `iss is "https://other.example", ${ours}`],
    [{ iss: undefined }, `iss is missing, ${ours}`],
    [{ iss: long }, `iss is "${"x".repeat(255)}, ${ours}`],
    [{ aud: ["a", "b"] }, `aud is ["a","b"], ${audienceOurs}`],
    [{ aud: undefined }, `aud is missing, ${audienceOurs}`],
  ];
  for (const [claims, detail] of cases) {
    const denial = await callers.identify(request(plainPeer(), await sign(key, claims)));
    assert.ok(denial instanceof Denial);
    assert.equal(denial.detail, detail);
    assert.ok(!JSON.stringify(denial.answer).includes("slash"), "the caller is not told");
  }
});

Deno.test("Callers takes an issuer's last keys for a day, and then none", async () => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  const clock = new Clock();
  const failures: string[] = [];
  const keysEvents = {
    fetched() {},
    failed: (reason: string, usable: boolean) => failures.push(`${reason} ${usable}`),
  };
  const callers = await Callers.create(jwtConfig(issuer.url), { clock, keysEvents });
  const ask = async () => {
    const exp = Math.floor(clock.epochMs / 1000) + 60;
    const token = await sign(key, { exp });
    return await told(callers.identify(request(plainPeer(), token)));
  };
  await callers.prepare();
  assert.equal(await ask(), "jwt someone");
  issuer.answer = "error";
  clock.pass(11 * 60_000);
  assert.equal(await ask(), "jwt someone", "the keys are old, and there are no newer ones");
  assert.deepEqual(failures, ["Status 503, must be 200 true"]);
  clock.pass(23.8 * 3_600_000);
  assert.equal(await ask(), "jwt someone");
  // The attempt of just now is not waited for; it must be over before the next.
  await callers.prepare();
  clock.pass(3_600_000);
  assert.equal(await ask(), "keys_unavailable");
  assert.match(failures.at(-1)!, /false$/);
  issuer.answer = "keys";
  assert.equal(await ask(), "keys_unavailable", "it was asked a moment ago");
  clock.pass(10_001);
  assert.equal(await ask(), "jwt someone");
});

Deno.test("Callers asks an issuer once for many callers, and not again at once", async () => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  const clock = new Clock();
  const callers = await Callers.create(jwtConfig(issuer.url), { clock });
  const token = await sign(key);
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => told(callers.identify(request(plainPeer(), token)))),
  );
  assert.deepEqual(new Set(answers), new Set(["jwt someone"]));
  assert.equal(issuer.fetches, 1);
  const stranger = await sign({ ...key, id: "stranger" });
  for (let count = 0; count < 5; count++) {
    assert.equal(await told(callers.identify(request(plainPeer(), stranger))), "unknown_key");
  }
  assert.equal(issuer.fetches, 1);
  clock.pass(10_001);
  await told(callers.identify(request(plainPeer(), stranger)));
  await told(callers.identify(request(plainPeer(), stranger)));
  assert.equal(issuer.fetches, 2);
});

Deno.test("Callers finds a caller by the rules of now, if they change while it looks", async () => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  const config = jwtConfig(issuer.url);
  const fetchesNow = Promise.withResolvers<void>();
  const callers = await Callers.create(config, {
    fetch: async (url, init) => {
      fetchesNow.resolve();
      return await fetch(url, init);
    },
  });
  const lookedUp = callers.identify(request(plainPeer(), await sign(key)));
  await fetchesNow.promise;
  callers.replaceJwtRules([{ claim: "sub", value: "*", clusters: ["b"] }]);
  const caller = await lookedUp;
  assert.ok(!(caller instanceof Denial));
  assert.deepEqual([refuseCluster(caller, "a")?.reason, refuseCluster(caller, "b")], [
    "cluster",
    undefined,
  ]);
});

Deno.test("Callers takes nothing for keys but a short list of them, from the URL itself", async () => {
  const key = await makeKey("one");
  const reasons: [Issuer["answer"], RegExp][] = [
    ["error", /^Status 503, must be 200$/],
    ["redirect", /^Status 302, must be 200$/],
    ["not JSON", /^The answer is not JSON$/],
    ["too long", /^The answer is over 262144 bytes$/],
  ];
  for (const [answer, reason] of reasons) {
    await using issuer = new Issuer([key]);
    issuer.answer = answer;
    const failures: string[] = [];
    const keysEvents = { fetched() {}, failed: (why: string) => void failures.push(why) };
    const callers = await Callers.create(jwtConfig(issuer.url), { keysEvents });
    const token = await sign(key);
    assert.equal(
      await told(callers.identify(request(plainPeer(), token))),
      "keys_unavailable",
      answer,
    );
    assert.match(failures.join(), reason);
    assert.equal(issuer.fetches, 1);
  }
});

Deno.test("Callers takes what is JSON and no list of keys for a failure", async () => {
  const context: CallersContext = {
    fetch: () => Promise.resolve(Response.json({ keys: "none" })),
  };
  const callers = await Callers.create(jwtConfig("https://issuer.example/keys"), context);
  const token = await sign(await makeKey("one"));
  assert.equal(await told(callers.identify(request(plainPeer(), token))), "keys_unavailable");
});

Deno.test("Callers gives up an issuer that does not answer", async () => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  issuer.answer = "silence";
  const failures: string[] = [];
  const keysEvents = { fetched() {}, failed: (why: string) => void failures.push(why) };
  const callers = await Callers.create(jwtConfig(issuer.url), { keysEvents });
  const token = await sign(key);
  assert.equal(await told(callers.identify(request(plainPeer(), token))), "keys_unavailable");
  assert.match(failures.join(), /timeout/);
});

Deno.test("Callers takes other rules for claims at once", async () => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  const callers = await Callers.create(jwtConfig(issuer.url));
  const peer = plainPeer();
  const token = await sign(key);
  const caller = await callers.identify(request(peer, token)) as Caller;
  assert.equal(refuseCluster(caller, "a"), undefined);
  callers.replaceJwtRules([{ claim: "sub", value: "someone-else", clusters: ["*"] }]);
  const changed = await callers.identify(request(peer, token)) as Caller;
  assert.equal(refuseCluster(changed, "a")?.reason, "cluster");
  assert.equal(issuer.fetches, 1, "the keys stay");
});

/** Counts the signatures that are verified while `run` does. */
async function countVerified(run: () => Promise<void>): Promise<number> {
  const { verify } = crypto.subtle;
  let count = 0;
  crypto.subtle.verify = (...args: Parameters<SubtleCrypto["verify"]>) => {
    count++;
    return verify.apply(crypto.subtle, args);
  };
  try {
    await run();
  } finally {
    crypto.subtle.verify = verify;
  }
  return count;
}

for (const lent of [digest, undefined]) {
  const how = lent ? "a digest of the runtime's" : "the platform's digest";
  Deno.test(`Callers verifies each JWT once, in whatever turn they come: ${how}`, async () => {
    const key = await makeKey("one");
    await using issuer = new Issuer([key]);
    const callers = await Callers.create(jwtConfig(issuer.url), { digest: lent });
    const tokens = [await sign(key, { sub: "ann" }), await sign(key, { sub: "bob" })];
    const peer = plainPeer();
    const count = await countVerified(async () => {
      for (let turn = 0; turn < 20; turn++) {
        assert.equal(await told(callers.identify(request(peer, tokens[0]))), "jwt ann");
        assert.equal(await told(callers.identify(request(peer, tokens[1]))), "jwt bob");
        assert.equal(await told(callers.identify(request(plainPeer(), tokens[0]))), "jwt ann");
      }
    });
    assert.equal(count, 2);
  });
}

Deno.test("Callers takes a remembered JWT for no other one, nor beyond its end", async () => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  const clock = new Clock();
  const callers = await Callers.create(jwtConfig(issuer.url), { clock, digest });
  const token = await sign(key, {}, { expiresIn: 10 });
  const peer = plainPeer();
  assert.equal(await told(callers.identify(request(peer, token))), "jwt someone");
  const [head, payload, signature] = token.split(".");
  const forged = payload!.slice(0, 10) + (payload![10] === "A" ? "B" : "A") + payload!.slice(11);
  for (const other of [`${head}.${forged}.${signature}`, `${head}.${payload}.`, `${token}A`]) {
    assert.match(await told(callers.identify(request(peer, other))), /signature|malformed/);
  }
  clock.epochMs += 39_000;
  assert.equal(await told(callers.identify(request(peer, token))), "jwt someone");
  clock.epochMs += 2_000;
  assert.equal(await told(callers.identify(request(peer, token))), "expired");
});

Deno.test("Callers forgets JWTs as soon as it learns that their issuer has other keys", async () => {
  const [first, second] = [await makeKey("one"), await makeKey("two")];
  await using issuer = new Issuer([first]);
  const clock = new Clock();
  const callers = await Callers.create(jwtConfig(issuer.url), { clock, digest });
  const token = await sign(first);
  const peer = plainPeer();
  assert.equal(await told(callers.identify(request(peer, token))), "jwt someone");
  // The issuer withdraws a key; a JWT of the next one has the relay look.
  issuer.keys = [second];
  clock.pass(10_001);
  assert.equal(await told(callers.identify(request(peer, token))), "jwt someone");
  assert.equal(await told(callers.identify(request(peer, await sign(second)))), "jwt someone");
  assert.equal(await told(callers.identify(request(peer, token))), "unknown_key");
});

Deno.test("Callers remembers a bounded number of tokens, and forgets the one not used for longest", () => {
  const verified = new VerifiedTokens();
  const owner = {
    caller: { kind: "token", name: "a", clusters: anyName },
    expiresMs: Infinity,
  } as const;
  verified.add("kept", owner, 0);
  verified.add("first", owner, 0);
  for (let index = 0; index < maxRemembered; index++) {
    verified.add(`more ${index}`, owner, 0);
    assert.equal(verified.find("kept", 0), owner);
  }
  assert.equal(verified.size, maxRemembered);
  assert.equal(verified.find("first", 0), undefined);
  assert.equal(verified.find("kept", rememberedMs), undefined, "its time is over");
  verified.add("later", owner, rememberedMs);
  assert.equal(verified.size, 1, "those whose time is over leave room");
});

Deno.test("Callers refuses a JWT whose sub is no name, and says why in the log", async (t) => {
  const key = await makeKey("one");
  await using issuer = new Issuer([key]);
  const callers = await Callers.create(jwtConfig(issuer.url), { digest });
  const subs: [string, unknown, RegExp][] = [
    ["a number", 42, /^sub is of type number, must be a string$/],
    ["an object", { name: "root" }, /^sub is of type object, must be a string$/],
    ["a list", ["root"], /^sub is a list, must be a string$/],
    ["null", null, /^sub is null, must be a string$/],
    ["a truth", true, /^sub is of type boolean, must be a string$/],
    ["empty", "", /^sub is empty$/],
    ["blanks", "  ", /not printable, or a blank at an end$/],
    ["a line end", "ann\nroot", /not printable/],
    ["a control", "ann\u0007", /not printable/],
    ["C1", "ann\u009b31m", /not printable/],
    ["a turned direction", "ann\u202etoor", /not printable/],
    ["no width", "an\u200bn", /not printable/],
    ["half a pair", "ann\ud800", /not printable/],
    ["a line separator", "ann\u2028", /not printable/],
    ["200 kB", "a".repeat(200_000), /^sub has 200000 characters, must have 512 at most$/],
  ];
  for (const [what, sub, detail] of subs) {
    await t.step(what, async () => {
      const denial = await callers.identify(request(plainPeer(), await sign(key, { sub })));
      assert.ok(denial instanceof Denial);
      assert.equal(denial.answer.status, 401);
      assert.equal(denial.reason, "name");
      assert.match(denial.detail ?? "", detail);
    });
  }
  const names = [
    "ann",
    "Zoë Müller",
    "王小明",
    "system:serviceaccount:a:b",
    "auth0|5f7c",
    "a".repeat(512),
  ];
  for (const sub of names) {
    await t.step(`taken: ${sub.slice(0, 20)}`, async () => {
      const caller = await callers.identify(request(plainPeer(), await sign(key, { sub })));
      assert.equal(await told(caller), `jwt ${sub}`);
    });
  }
});

Deno.test("Callers counts no certificate's name that can't be written in a log", async () => {
  const rules = [{ name: "*", clusters: ["*"] }];
  const ruled = await Callers.create({ mode: "known", certificates: rules });
  const open = await Callers.create({ mode: "open" });
  const bad = ["ann\nroot", "", "a".repeat(513), "\u202eann"];
  const ask = (callers: Callers, ...names: string[]) =>
    told(callers.identify(request(certified(...names))));
  assert.equal(await ask(ruled, ...bad, "ann"), "certificate ann");
  assert.equal(await ask(ruled, ...bad), "unknown_certificate");
  assert.equal(await ask(open, ...bad, "ann"), "certificate ann");
  assert.equal(await ask(open, ...bad), "name");
});
