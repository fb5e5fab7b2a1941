/** Attacks by somebody who sits at a sibling host, has a session of their own, or answers as a provider. */
import assert from "node:assert/strict";
import { EncryptJWT } from "jose";
import { field } from "../../lib/http1/head.ts";
import { requestKind } from "../../lib/relay/signin/request_kind.ts";
import { Browser, navigation, World } from "./world.ts";

const app = "https://app.example.com";
const other = "https://other.example.com";
const login = "https://login.example.com";
const script = { "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin" };
const cookieName = "__Host-Http-culvert";

async function statusWith(world: World, Cookie: string, origin = app): Promise<number> {
  const answer = await world.answer(new Request(`${origin}/x`, { headers: { ...script, Cookie } }));
  await answer.body?.cancel();
  return answer.status;
}

/** The key of one purpose, as the relay derives it from the world's own. */
async function keyOf(purpose: string): Promise<{ key: Uint8Array; kid: string }> {
  const secret = new Uint8Array(32).fill(7);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", secret));
  const base = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  const info = new TextEncoder().encode(`culvert ${purpose}`);
  const algorithm = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(32), info };
  const key = new Uint8Array(await crypto.subtle.deriveBits(algorithm, base, 256));
  return { key, kid: digest.slice(0, 8).toHex() };
}

Deno.test("A cookie counts with its own algorithm, type, host and times only, though the key is right", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  const { id } = world.forwarded[0]!.session;
  const { key, kid } = await keyOf("session");
  const header = { alg: "dir", enc: "A256GCM", kid, typ: "culvert-session" };
  const seal = (
    change: Record<string, unknown> = {},
    claims: Record<string, unknown> = {},
    by = key,
  ) => {
    const now = Math.floor(Date.now() / 1_000);
    const all = { sid: id, aud: "app.example.com", iat: now, exp: now + 600, ...claims };
    return new EncryptJWT(JSON.parse(JSON.stringify(all)))
      .setProtectedHeader(JSON.parse(JSON.stringify({ ...header, ...change }))).encrypt(by);
  };
  assert.equal(await statusWith(world, `${cookieName}=${await seal()}`), 200, "as the relay does");
  const hour = Math.floor(Date.now() / 1_000) + 3_600;
  const forged: [string, Promise<string>][] = [
    ["another alg", seal({ alg: "A256KW" })],
    ["another alg with a nonce", seal({ alg: "A256GCMKW" })],
    ["another enc", seal({ enc: "A128CBC-HS256" })],
    ["another type", seal({ typ: "culvert-code" })],
    ["no type", seal({ typ: undefined })],
    ["no key id", seal({ kid: undefined })],
    ["another key id", seal({ kid: "0000000000000000" })],
    ["another host", seal({}, { aud: "other.example.com" })],
    ["no host", seal({}, { aud: undefined })],
    ["no end", seal({}, { exp: undefined })],
    ["an end that is over", seal({}, { exp: 1 })],
    ["no beginning", seal({}, { iat: undefined })],
    ["a beginning to come", seal({}, { nbf: hour })],
    ["a session that is no text", seal({}, { sid: [id] })],
    ["no session", seal({}, { sid: undefined })],
    ["another session", seal({}, { sid: "x" })],
    ["the key of another purpose", seal({}, {}, (await keyOf("code")).key)],
    ["the ring's key itself", seal({}, {}, new Uint8Array(32).fill(7))],
  ];
  for (const [how, text] of forged) {
    assert.equal(await statusWith(world, `${cookieName}=${await text}`), 401, how);
  }
});

Deno.test("Cookies that a sibling host tosses are no session, and neither is the victim's own beside them", async () => {
  const world = await World.create();
  const [victim, thief] = [new Browser(world), new Browser(world)];
  await victim.open(`${app}/`);
  world.provider.account = { sub: "eve-1", email: "eve@example.com", email_verified: true };
  await thief.open(`${app}/`);
  await thief.open(`${other}/`);
  const own = victim.jar("app.example.com").get(cookieName)!;
  const evil = thief.jar("app.example.com").get(cookieName)!;
  for (
    const cookie of [
      `${cookieName}=${evil}; ${cookieName}=${own}`,
      `${cookieName}=${own}; ${cookieName}=${evil}`,
      `${cookieName}=${own}; ${cookieName}=`,
      `${cookieName}=${own}; ${cookieName}`,
      `\u00a0${cookieName}=${evil}`,
      `culvert-dev=${evil}`,
      `${cookieName}=${thief.jar("other.example.com").get(cookieName)}`,
      `${cookieName}-login=${own}`,
    ]
  ) {
    const expected = cookie.endsWith(`; ${cookieName}`) ? [401, 200] : [401];
    assert.ok(expected.includes(await statusWith(world, cookie)), cookie);
  }
  const seen = new Set(world.forwarded.slice(3).map(({ session }) => session.username));
  assert.ok(!seen.has("eve@example.com"));
});

Deno.test("Hundreds of cookies of sign-ins that somebody has planted hinder nobody", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  for (const host of ["app.example.com", "login.example.com"]) {
    for (let number = 0; number < 150; number++) {
      browser.jar(host).set(`${cookieName}-t-zzzzzzzzz${number}`, "planted");
    }
  }
  const page = await browser.open(`${app}/deep`);
  assert.equal(page.url, `${app}/deep`);
  assert.equal(page.answer.status, 200);
  const left = [...browser.jar("app.example.com").keys()].filter((name) => name.includes("-t-"));
  assert.ok(left.length <= 5, `${left.length} cookies of sign-ins are left`);
});

Deno.test("Whoever sends another person a link of their own sign-in gets nobody into it", async () => {
  const world = await World.create();
  const [victim, thief] = [new Browser(world), new Browser(world)];
  await victim.open(`${other}/`);
  world.provider.account = { sub: "eve-1", email: "eve@example.com", email_verified: true };
  const stops: [string, (url: string) => boolean][] = [
    ["the way back from the provider", (url) => url.startsWith(`${login}/.culvert/callback`)],
    ["the code", (url) => url.startsWith(`${app}/.culvert/callback`)],
  ];
  for (const [what, stop] of stops) {
    const link = (await thief.open(`${app}/`, stop)).location!;
    const page = await victim.open(link);
    await page.answer.body?.cancel();
    const cookie = victim.jar("app.example.com").get(cookieName);
    const sessions = world.forwarded.map(({ session }) => session.username);
    assert.ok(!sessions.includes("eve@example.com"), what);
    if (cookie) assert.equal(await statusWith(world, `${cookieName}=${cookie}`), 200);
    assert.notEqual(world.forwarded.at(-1)?.session.username, "eve@example.com", what);
  }
});

Deno.test("A provider's answer that names another issuer is refused though it does not announce issuers", async () => {
  const world = await World.create();
  world.provider.announcesIss = false;
  world.provider.respond = (params) => params.set("iss", "https://evil.example");
  const page = await new Browser(world).open(`${app}/`);
  assert.equal(page.answer.status, 400);
  assert.equal(world.sessions.size, 0);
  world.provider.respond = (params) => params.delete("iss");
  assert.equal((await new Browser(world).open(`${app}/`)).answer.status, 200);
});

Deno.test("A code counts with the verifier of its own sign-in alone", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const atCallback = (url: string) => url.startsWith(`${login}/.culvert/callback`);
  const one = new URL((await browser.open(`${app}/one`, atCallback)).location!);
  const two = new URL((await browser.open(`${app}/two`, atCallback)).location!);
  // Both are of one browser; a code that was injected has another challenge.
  const code = one.searchParams.get("code")!;
  one.searchParams.set("code", two.searchParams.get("code")!);
  const page = await browser.open(one.href);
  assert.ok(page.answer.status >= 400);
  assert.equal(world.sessions.size, 0);
  two.searchParams.set("code", code);
  assert.ok((await browser.open(two.href)).answer.status >= 400);
  assert.equal(world.sessions.size, 0);
});

Deno.test("The login host's own sign-in leads to its own pages alone", async () => {
  const world = await World.create();
  for (
    const to of [
      ...["//evil.test", "/\\evil.test", "https://evil.test", "/%09/evil.test", "/%5cevil.test"],
      ...[
        "javascript:alert(1)",
        "/.culvert/logout",
        "/x/../.culvert/logout",
        "\r\nX: y",
        "@evil.test",
      ],
    ]
  ) {
    const browser = new Browser(world);
    const first = await browser.open(`${login}/.culvert/login?to=${encodeURIComponent(to)}`);
    assert.equal(first.url, `${login}/`, to);
    // The second time there is a session, and no provider on the way.
    const second = await browser.open(`${login}/.culvert/login?to=${encodeURIComponent(to)}`);
    assert.equal(second.url, `${login}/`, to);
  }
});

Deno.test("A page that a browser fetches ahead begins no sign-in", () => {
  const kindOf = (more: Record<string, string>) =>
    requestKind({
      ...{ method: "GET", target: "/", minor: 1 },
      fields: Object.entries({ ...navigation, ...more }).map(([name, value]) => field(name, value)),
    });
  assert.equal(kindOf({}), "page");
  assert.equal(kindOf({ "Sec-Purpose": "prefetch" }), "other");
  assert.equal(kindOf({ "Sec-Purpose": "prefetch;prerender" }), "other");
});

Deno.test("A clock that jumps ends sessions early at most, and fails no request", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  const cookie = `${cookieName}=${browser.jar("app.example.com").get(cookieName)}`;
  world.aheadMs = -3_600_000;
  assert.ok([200, 401].includes(await statusWith(world, cookie)));
  world.aheadMs = 13 * 3_600_000;
  assert.equal(await statusWith(world, cookie), 401);
});

Deno.test("While the store fails, signing in and out come to 503 and let nobody in", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  const { put, end } = world.sessions;
  const away = () => Promise.reject(new Error("the store is away: secret-of-the-store"));
  Object.assign(world.sessions, { put: away, end: away });
  const stranger = await new Browser(world).open(`${app}/`);
  assert.equal(stranger.answer.status, 503);
  assert.doesNotMatch(await stranger.answer.text(), /secret-of-the-store/);
  const out = await browser.send(`${app}/.culvert/logout`, {
    method: "POST",
    headers: { Origin: app },
  });
  assert.equal(out.status, 503);
  assert.match(await out.text(), /Not signed out everywhere yet/);
  assert.ok(!browser.jar("app.example.com").has(cookieName));
  Object.assign(world.sessions, { put, end });
  assert.equal((await new Browser(world).open(`${app}/`)).answer.status, 200);
});
