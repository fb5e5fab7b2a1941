import assert from "node:assert/strict";
import { type JWTPayload, SignJWT } from "jose";
import { exportSPKI } from "jose";
import { type FakeProvider, unsigned } from "./fake_provider.ts";
import { Browser, World } from "./world.ts";

const app = "https://app.example.com";

interface Hostile {
  readonly name: string;
  prepare(provider: FakeProvider): void | Promise<void>;
}

function claims(change: (claims: JWTPayload) => void): (provider: FakeProvider) => void {
  return (provider) => void (provider.mutate = change);
}

const hostile: readonly Hostile[] = [
  { name: "another nonce", prepare: claims((it) => void (it["nonce"] = "x")) },
  { name: "no nonce", prepare: claims((it) => void delete it["nonce"]) },
  { name: "another audience", prepare: claims((it) => void (it.aud = "other")) },
  { name: "two audiences without azp", prepare: claims((it) => void (it.aud = ["culvert", "x"])) },
  {
    name: "two audiences and another azp",
    prepare: claims((it) => void Object.assign(it, { aud: ["culvert", "x"], azp: "x" })),
  },
  {
    name: "an issuer in other case",
    prepare: claims((it) => void (it.iss = "https://IDP.example.net")),
  },
  { name: "an issuer with a slash", prepare: claims((it) => void (it.iss += "/")) },
  { name: "no subject", prepare: claims((it) => void delete it.sub) },
  { name: "no signature", prepare: (provider) => void (provider.sign = unsigned) },
  {
    name: "HS256 with the public key as its secret",
    async prepare(provider) {
      const secret = new TextEncoder().encode(await exportSPKI(provider.publicKey));
      provider.sign = (claims) =>
        new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(secret);
    },
  },
  {
    name: "HS256 with the client's secret",
    prepare(provider) {
      const secret = new TextEncoder().encode("client-secret-client-secret");
      provider.sign = (claims) =>
        new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(secret);
    },
  },
  {
    name: "a key id that the provider does not have",
    prepare: (provider) => void (provider.mutate = (_claims, header) => header["kid"] = "none"),
  },
  {
    name: "another signature",
    prepare(provider) {
      provider.sign = async (claims) => {
        const { privateKey } = await crypto.subtle.generateKey(
          {
            name: "RSASSA-PKCS1-v1_5",
            modulusLength: 2048,
            publicExponent: new Uint8Array([1, 0, 1]),
            hash: "SHA-256",
          },
          true,
          ["sign", "verify"],
        );
        return await new SignJWT(claims).setProtectedHeader({ alg: "RS256" }).sign(privateKey);
      };
    },
  },
  {
    name: "an answer without iss",
    prepare: (provider) => void (provider.respond = (params) => params.delete("iss")),
  },
  {
    name: "another provider's answer (mix-up)",
    prepare: (provider) =>
      void (provider.respond = (params) => params.set("iss", "https://evil.example")),
  },
  {
    name: "two codes",
    prepare: (provider) => void (provider.respond = (params) => params.append("code", "x")),
  },
  {
    name: "another code",
    prepare: (provider) => void (provider.respond = (params) => params.set("code", "x")),
  },
];

for (const { name, prepare } of hostile) {
  Deno.test(`A provider's answer with ${name} begins no session, and the log says why`, async () => {
    const world = await World.create();
    await prepare(world.provider);
    const browser = new Browser(world);
    const { answer } = await browser.open(`${app}/`);
    assert.equal(answer.status, 400);
    assert.match(await answer.text(), /could not be verified/);
    assert.equal(world.sessions.size, 0);
    const names = [...browser.jars.values()].flatMap((jar) => [...jar.keys()]);
    assert.ok(!names.some((name) => /culvert(?:-login)?$/.test(name)), names.join());
    const line = world.lines.find(({ message }) => message === "Sign-in at a provider failed");
    assert.ok(String(line?.["error"]).length > 5, JSON.stringify(line));
  });
}

Deno.test("A provider whose clock is 25 s ahead works, and the log has the difference; 5 min are refused in words", async () => {
  const world = await World.create();
  const ahead = (seconds: number) => (it: JWTPayload) =>
    void Object.assign(it, { iat: it.iat! + seconds, exp: it.exp! + seconds });
  world.provider.mutate = ahead(25);
  assert.equal((await new Browser(world).open(`${app}/`)).answer.status, 200);
  const line = world.lines.find(({ message }) => message === "Signed in");
  assert.ok(Math.abs(Number(line?.["skew_s"]) - 25) <= 2, JSON.stringify(line));
  for (const seconds of [300, -700]) {
    world.provider.mutate = ahead(seconds);
    const { answer } = await new Browser(world).open(`${app}/`);
    assert.equal(answer.status, 400);
    assert.match(await answer.text(), /clocks/);
  }
});

Deno.test("A provider with new keys works at the next sign-in, and one with withdrawn keys does not", async () => {
  const world = await World.create();
  await new Browser(world).open(`${app}/`);
  await world.provider.rotate();
  assert.equal((await new Browser(world).open(`${app}/`)).answer.status, 200);
});

Deno.test("While the provider is away, sign-in says so with 503, and sessions go on", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  world.provider.isDown = true;
  world.aheadMs = 11 * 60_000;
  assert.equal((await browser.open(`${app}/`)).answer.status, 200);
  world.aheadMs = 3_600_000 + 11 * 60_000;
  const { answer } = await new Browser(world).open(`${app}/`);
  assert.ok([503].includes(answer.status), String(answer.status));
  assert.equal(answer.headers.get("Retry-After"), "60");
  assert.match(await answer.text(), /corp does not answer/);
});

Deno.test("Somebody whom the provider does not let in gets a page that says so", async () => {
  const world = await World.create();
  world.provider.respond = (params) => {
    params.delete("code");
    params.set("error", "access_denied");
    params.set("error_description", "<script>");
  };
  const { answer } = await new Browser(world).open(`${app}/`);
  assert.equal(answer.status, 403);
  assert.doesNotMatch(await answer.text(), /script>/);
});

Deno.test("An address that is not verified is refused in words", async () => {
  const world = await World.create();
  for (const email_verified of [false, "true", undefined]) {
    world.provider.account = { sub: "eve", email: "eve@example.com", email_verified };
    const { answer } = await new Browser(world).open(`${app}/`);
    assert.equal(answer.status, 403);
    assert.match(await answer.text(), /e-mail address is not verified/);
  }
});

Deno.test("No log line has a code, a state, a token or a cookie", async () => {
  const world = await World.create();
  const seen: string[] = [];
  const browser = new Browser(world);
  const first = await browser.open(`${app}/`);
  await first.answer.body?.cancel();
  for (const jar of browser.jars.values()) seen.push(...jar.values());
  seen.push(world.provider.asked!.get("state")!, world.provider.asked!.get("nonce")!);
  world.provider.mutate = (it) => void (it.aud = "x");
  await new Browser(world).open(`${app}/`);
  const log = JSON.stringify(world.lines);
  for (const secret of seen) assert.ok(!log.includes(secret), secret.slice(0, 8));
  assert.doesNotMatch(log, /eyJ/);
});

for (
  const { name, prepare, asks } of [
    {
      name: "a token endpoint on plain HTTP",
      prepare: (it: FakeProvider) => {
        it.metadata = { token_endpoint: "http://idp.example.net/token" };
      },
      asks: "/token",
    },
    {
      name: "keys on plain HTTP",
      prepare: (it: FakeProvider) => {
        it.metadata = { jwks_uri: "http://169.254.169.254/latest" };
      },
      asks: "/latest",
    },
    {
      name: "metadata of another issuer",
      prepare: (it: FakeProvider) => {
        it.metadata = { issuer: "https://evil.example" };
      },
      asks: "/token",
    },
    {
      name: "a token endpoint that leads elsewhere",
      prepare: (it: FakeProvider) => {
        const Location = "https://idp.example.net/inside";
        it.answers.set("/token", () => new Response(null, { status: 307, headers: { Location } }));
      },
      asks: "/inside",
    },
    {
      name: "metadata without end",
      prepare: (it: FakeProvider) => {
        const piece = new TextEncoder().encode('{"issuer": "'.padEnd(64 * 1024));
        const endless = () =>
          new ReadableStream({ pull: (controller) => controller.enqueue(piece) });
        it.answers.set("/.well-known/openid-configuration", () => new Response(endless()));
      },
      asks: "/token",
    },
    {
      name: "userinfo of another person",
      prepare: (it: FakeProvider) => {
        it.answers.set("/userinfo", () =>
          Response.json({ sub: "bob-1", email: "bob@example.com" }));
      },
      asks: undefined,
    },
  ]
) {
  Deno.test(`A provider with ${name} begins no session, and is asked no further`, async () => {
    const world = await World.create();
    prepare(world.provider);
    const { answer } = await new Browser(world).open(`${app}/`);
    await answer.body?.cancel();
    assert.ok([400, 503].includes(answer.status), `${answer.status}`);
    assert.equal(world.sessions.size, 0);
    if (asks !== undefined) assert.equal(world.provider.count(asks), 0);
  });
}

Deno.test("A page to sign out at that is no HTTPS is left out", async () => {
  const world = await World.create();
  world.provider.metadata = { end_session_endpoint: "http://idp.example.net/logout" };
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  const out = await browser.send(`${app}/.culvert/logout`, {
    method: "POST",
    headers: { Origin: app },
  });
  assert.equal(out.headers.get("Location"), "https://login.example.com/.culvert/signed-out");
});
