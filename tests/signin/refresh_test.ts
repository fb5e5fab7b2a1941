import assert from "node:assert/strict";
import { Browser, World } from "./world.ts";

const app = "https://app.example.com";
const script = { "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin" };
const stale = 10 * 60_000 + 1;

async function signedIn(prepare: (world: World) => void = () => {}) {
  const world = await World.create();
  prepare(world);
  const browser = new Browser(world);
  assert.equal((await browser.open(`${app}/`)).answer.status, 200);
  return { world, browser };
}

async function status(browser: Browser): Promise<number> {
  const answer = await browser.send(`${app}/x`, { headers: script });
  await answer.body?.cancel();
  return answer.status;
}

Deno.test("A refresh without an ID token and without userinfo keeps what the provider said before", async () => {
  const { world, browser } = await signedIn(({ provider }) => {
    provider.hasUserInfo = false;
    provider.refreshBringsIdToken = false;
    provider.idTokenClaims = { email: "ann@example.com", email_verified: true, groups: ["ops"] };
  });
  for (let times = 1; times <= 2; times++) {
    world.aheadMs += stale;
    assert.equal(await status(browser), 200);
    assert.deepEqual(world.forwarded.at(-1)!.session.claims["groups"], ["ops"]);
    assert.equal(world.provider.count("/token"), 1 + times);
  }
});

Deno.test("A refresh without an ID token takes what userinfo says now, and the last ID token's claims", async () => {
  const { world, browser } = await signedIn(({ provider }) => {
    provider.refreshBringsIdToken = false;
    provider.idTokenClaims = { realm: "corp" };
  });
  const { groups: _, ...without } = world.provider.account;
  world.provider.account = { ...without, sub: "ann-1" };
  world.aheadMs += stale;
  assert.equal(await status(browser), 200);
  const { claims } = world.forwarded.at(-1)!.session;
  assert.equal(claims["realm"], "corp");
  // Userinfo told it before and tells it no more: that is no leftover of the ID token.
  assert.equal(claims["groups"], undefined);
});

Deno.test("A refresh that describes another person ends the session", async () => {
  const { world, browser } = await signedIn();
  world.provider.mutate = (claims) => claims.sub = "bob-1";
  world.aheadMs += stale;
  assert.equal(await status(browser), 401);
  assert.equal(world.sessions.size, 0);
});

Deno.test("A session that ends while its provider is asked lets nobody in afterwards", async () => {
  const { world, browser } = await signedIn();
  const { id } = world.forwarded[0]!.session;
  const provider = world.signIn.provider("corp")!;
  const asked = provider.refresh.bind(provider);
  provider.refresh = async (token, known) => {
    const verified = await asked(token, known);
    await world.sessions.end(id);
    return verified;
  };
  world.aheadMs += stale;
  assert.equal(await status(browser), 401);
  assert.equal(world.signIn.current(id), undefined);
});

Deno.test("A refresh uses the newest refresh token that is known, whoever got it", async () => {
  const { world, browser } = await signedIn();
  const old = world.forwarded[0]!.session;
  world.aheadMs += stale;
  assert.equal(await status(browser), 200);
  const next = world.forwarded.at(-1)!.session;
  assert.notEqual(next.refreshToken, old.refreshToken);
  world.aheadMs += stale;
  // What is open has the record that it began with; the provider would take its token for stolen.
  assert.ok(world.signIn.current(old.id));
  assert.equal(await status(browser), 200);
  assert.equal(world.sessions.size, 1);
});
