import assert from "node:assert/strict";
import { Browser, navigation, World } from "./world.ts";

const app = "https://app.example.com";
const other = "https://other.example.com";
const login = "https://login.example.com";
const script = { "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin" };
const cookieName = "__Host-Http-culvert";

async function status(world: World, hostname: string, cookie: string): Promise<number> {
  const headers = { ...script, Cookie: `${cookieName}=${cookie}` };
  const answer = await world.answer(new Request(`https://${hostname}/x`, { headers }));
  await answer.body?.cancel();
  return answer.status;
}

/** Signs in at the provider again, in a browser that has a session. */
async function signInAgain(world: World, browser: Browser): Promise<void> {
  browser.jar("login.example.com").delete(`${cookieName}-login`);
  await browser.open(`${app}/.culvert/login`);
  assert.equal((await browser.open(`${app}/`)).answer.status, 200);
  assert.ok(world.provider.count("/authorize") >= 2);
}

Deno.test("Signing in again makes a new session, and the one before is over at every host", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  await browser.open(`${other}/`);
  const before = world.forwarded[0]!.session;
  const cookies = [
    ["app.example.com", browser.jar("app.example.com").get(cookieName)!],
    ["other.example.com", browser.jar("other.example.com").get(cookieName)!],
  ] as const;
  for (const [host, cookie] of cookies) assert.equal(await status(world, host, cookie), 200);
  const grant = world.signIn.grantOf(before);
  await signInAgain(world, browser);
  assert.notEqual(world.forwarded.at(-1)!.session.id, before.id);
  for (const [host, cookie] of cookies) assert.equal(await status(world, host, cookie), 401, host);
  assert.ok(!grant.isValid(Date.now()));
  assert.equal(world.sessions.size, 1);
});

Deno.test("Signing in again with the login host's session ends that one under its old id too", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  const cookie = browser.jar("login.example.com").get(`${cookieName}-login`)!;
  // Another provider's page, or "use another account": the person comes back as the same one.
  world.policy = () => ({ isAllowed: false, missing: ["x"], tellsGroups: true });
  const denied = await browser.open(`${other}/`);
  world.policy = () => ({ isAllowed: true, rules: [] });
  const link = /href="([^"]*start[^"]*)"/.exec(await denied.answer.text())![1]!;
  await browser.open(link.replaceAll("&amp;", "&"));
  assert.notEqual(browser.jar("login.example.com").get(`${cookieName}-login`), cookie);
  const headers = { Cookie: `${cookieName}-login=${cookie}` };
  const home = await world.answer(new Request(`${login}/`, { headers }));
  assert.match(await home.text(), /Not signed in/);
  assert.equal(world.sessions.size, 1);
});

Deno.test("Two tabs that come back from the provider at the same moment both arrive", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const atCallback = (url: string) => url.startsWith(`${app}/.culvert/callback`);
  const atLogin = (url: string) => url.startsWith(`${login}/.culvert/callback`);
  const first = await browser.open(`${app}/one`, atLogin);
  const second = await browser.open(`${app}/two`, atLogin);
  // Both have signed in at the provider; each has got a code before either has used it.
  const firstCode = await browser.open(first.location!, atCallback);
  const secondCode = await browser.open(second.location!, atCallback);
  assert.equal((await browser.open(firstCode.location!)).url, `${app}/one`);
  assert.equal((await browser.open(secondCode.location!)).url, `${app}/two`);
  const ids = world.forwarded.map(({ session }) => session.id);
  assert.equal(new Set(ids).size, 1);
  assert.equal(world.sessions.size, 1);
});

Deno.test("The code of a session that somebody else's has replaced leads nowhere", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const atCallback = (url: string) => url.startsWith(`${app}/.culvert/callback`);
  const code = await browser.open(`${app}/one`, atCallback);
  world.provider.account = { sub: "bob-1", email: "bob@example.com", email_verified: true };
  world.policy = () => ({ isAllowed: false, missing: ["x"], tellsGroups: true });
  const denied = await browser.open(`${other}/`);
  const link = /href="([^"]*start[^"]*)"/.exec(await denied.answer.text())![1]!;
  await browser.open(link.replaceAll("&amp;", "&"));
  const answer = await browser.send(code.location!, { headers: navigation });
  assert.equal(answer.status, 400);
  assert.ok(!browser.jar("app.example.com").has(cookieName));
});

Deno.test("The login host's sign-in page leaves a session as it is, as any page can lead there", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  const { id } = world.forwarded[0]!.session;
  const asked = world.provider.count("/authorize");
  await browser.open(`${login}/.culvert/login`);
  assert.equal(world.provider.count("/authorize"), asked);
  assert.ok(world.signIn.current(id));
});

Deno.test("A logout that comes while somebody signs in ends what they sign in to", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const { put } = world.sessions;
  world.sessions.put = async (record, replaces) => {
    await put.call(world.sessions, record, replaces);
    const { issuer, subject } = record;
    // Between the record's first moment and the answer to the browser.
    await world.sessions.endOf({ issuer, subject, issuedMs: record.issuedMs });
  };
  const page = await browser.open(`${app}/`);
  assert.equal(page.answer.status, 403);
  assert.match(await page.answer.text(), /signed out in the meantime/);
  assert.equal(world.sessions.size, 0);
});
