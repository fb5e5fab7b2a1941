import assert from "node:assert/strict";
import { RealOidcProvider } from "./oidc_provider.ts";
import { Browser, World } from "./world.ts";

const app = "https://app.example.com";
const login = "https://login.example.com";

Deno.test("People sign in at a certified provider, are refreshed there, and sign in at a second service", async () => {
  await using provider = await RealOidcProvider.start(
    `${login}/.culvert/callback`,
    `${login}/.culvert/signed-out`,
  );
  const world = await World.create(provider);
  const browser = new Browser(world);
  const { url, answer } = await browser.open(`${app}/deep?x=1`);
  assert.deepEqual(provider.errors, []);
  assert.deepEqual(world.lines.filter(({ message }) => message !== "Signed in"), []);
  assert.equal(answer.status, 200);
  assert.equal(url, `${app}/deep?x=1`);
  assert.equal(await answer.text(), "hello ann@example.com at /deep?x=1");
  const first = world.forwarded.at(-1)!.session;
  assert.ok(first.refreshToken);
  world.aheadMs = 10 * 60_000 + 1;
  const all = await Promise.all(Array.from({ length: 20 }, async () => {
    const answer = await browser.send(`${app}/x`, { headers: { "Sec-Fetch-Site": "same-origin" } });
    await answer.body?.cancel();
    return answer.status;
  }));
  assert.deepEqual(new Set(all), new Set([200]));
  const refreshed = world.forwarded.at(-1)!.session;
  assert.notEqual(refreshed.refreshToken, first.refreshToken);
  assert.equal((await browser.open("https://other.example.com/")).answer.status, 200);
});
