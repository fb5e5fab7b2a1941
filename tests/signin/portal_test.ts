import assert from "node:assert/strict";
import type { PortalService } from "../../lib/relay/pages/portal.tsx";
import { Browser, navigation, World } from "./world.ts";

const login = "https://login.example.com";
const app = "https://app.example.com";

const dashboard: PortalService = {
  name: "dashboard",
  kind: "http",
  hosts: ["dash.example.com"],
  url: "https://dash.example.com/",
  connection: "connected",
};
const database: PortalService = {
  name: "pg",
  kind: "tcp",
  hosts: ["pg.example.com"],
  command: "access tcp pg.example.com --listen 127.0.0.1:0",
  connection: "away",
};

async function signedIn(): Promise<{ world: World; browser: Browser }> {
  const world = await World.create();
  const browser = new Browser(world);
  await (await browser.open(`${login}/.culvert/login`)).answer.body?.cancel();
  return { world, browser };
}

Deno.test("Somebody signs in at the login host without a service, and arrives at the portal", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const before = await browser.send(`${login}/`, { headers: navigation });
  const text = await before.text();
  assert.match(text, /Not signed in/);
  assert.match(text, /href="\/\.culvert\/login\?provider=corp"[^>]*>Sign in</);
  const { url, answer } = await browser.open(`${login}/.culvert/login?provider=corp`);
  assert.equal(url, `${login}/`);
  assert.match(await answer.text(), /ann@example\.com/);
  const unknown = await browser.send(`${login}/.culvert/login?provider=other`);
  await unknown.body?.cancel();
  assert.equal(unknown.status, 400);
});

Deno.test("After a sign-in at the login host, a browser goes to no other path than one of that host", async () => {
  for (
    const to of ["//evil.example", "/\\evil.example", "https://evil.example", "/.culvert/logout"]
  ) {
    const browser = new Browser(await World.create());
    const query = new URLSearchParams({ provider: "corp", to });
    const { url, answer } = await browser.open(`${login}/.culvert/login?${query}`);
    await answer.body?.cancel();
    assert.equal(url, `${login}/`, to);
  }
});

Deno.test("A sealed start for the login host is none: only a service's host may ask for a hand-over", async () => {
  const { world, browser } = await signedIn();
  const sealed = await world.keys.seal("start", "login.example.com", {
    host: "login.example.com",
    path: "/",
    txn: "t",
    bind: "b",
  }, 60_000);
  const answer = await browser.send(`${login}/.culvert/start?r=${sealed}`, { headers: navigation });
  await answer.body?.cancel();
  assert.equal(answer.status, 400);
});

Deno.test("The portal links web services, and gives the command for TCP services", async () => {
  const { world, browser } = await signedIn();
  world.services = [dashboard, database];
  const answer = await browser.send(`${login}/`, { headers: navigation });
  const text = await answer.text();
  assert.match(text, /<a class="whole" href="https:\/\/dash\.example\.com\/">dashboard<\/a>/);
  assert.match(text, /<code[^>]*>access tcp pg\.example\.com --listen 127\.0\.0\.1:0<\/code>/);
  assert.match(text, /Connected[\s\S]*No agent connected/);
  assert.doesNotMatch(text, /\/status/);
});

Deno.test("The portal links the status page for those who may see it, and for nobody else", async () => {
  const { world, browser } = await signedIn();
  world.maySeeStatus = true;
  const text = await (await browser.send(`${login}/`, { headers: navigation })).text();
  assert.match(text, /<a href="\/status">Status<\/a>/);
});

Deno.test("The portal runs no script, loads nothing of other hosts and can't be framed", async () => {
  const { world, browser } = await signedIn();
  world.services = [dashboard, database];
  const answer = await browser.send(`${login}/`, { headers: navigation });
  const policy = answer.headers.get("Content-Security-Policy")!;
  assert.match(policy, /^default-src 'none'; style-src 'self'; img-src 'self'; form-action /);
  assert.match(policy, /frame-ancestors 'none'/);
  assert.doesNotMatch(policy, /unsafe|script-src|\*/);
  assert.equal(answer.headers.get("Cache-Control"), "no-store");
  const text = await answer.text();
  assert.doesNotMatch(text, /<script|<style|\son[a-z]+=|\sstyle=/i);
  for (const [, path] of text.matchAll(/<link[^>]* href="([^"]+)"/g)) {
    const asset = await browser.send(`${login}${path}`);
    await asset.body?.cancel();
    assert.equal(asset.status, 200, String(path));
  }
});

Deno.test("A portal with many services has a search and pages, by the URL alone", async () => {
  const { world, browser } = await signedIn();
  world.services = Array.from({ length: 130 }, (_, index) => ({
    ...dashboard,
    name: `service-${String(index).padStart(3, "0")}`,
  }));
  const get = async (query: string) =>
    await (await browser.send(`${login}/${query}`, { headers: navigation })).text();
  const first = await get("");
  assert.match(first, /service-059/);
  assert.doesNotMatch(first, /service-060/);
  assert.match(first, /Page 1 of 3/);
  assert.match(await get("?page=3"), /service-129/);
  assert.match(await get("?page=99"), /Page 3 of 3/);
  assert.match(await get("?page=-1"), /Page 1 of 3/);
  const found = await get("?q=SERVICE-12");
  assert.match(found, /service-129/);
  assert.doesNotMatch(found, /service-119|Page 1/);
  assert.match(await get("?q=%3Cb%3E"), /No service matches[\s\S]*&lt;b&gt;/);
});

Deno.test("Somebody whom no policy lets in anywhere reads that, and whom to ask", async () => {
  const { browser } = await signedIn();
  const text = await (await browser.send(`${login}/`, { headers: navigation })).text();
  assert.match(text, /No service lets you in\. Ask whoever operates the relay\./);
});

Deno.test("The portal lists somebody's own sessions, and ends them by its own form alone", async () => {
  const { world, browser } = await signedIn();
  const other = new Browser(world);
  await (await other.open(`${login}/.culvert/login`)).answer.body?.cancel();
  const own = (await world.signIn.people.list()).sessions;
  assert.equal(own.length, 2);
  const stranger = { ...world.sessions.known(own[0]!.id)!, id: "strangers", subject: "somebody" };
  await world.sessions.put(stranger);
  const text = await (await browser.send(`${login}/`, { headers: navigation })).text();
  for (const { id } of own) assert.ok(text.includes(id), id);
  assert.ok(!text.includes("strangers"));
  const post = async (session: string, headers: Record<string, string>) => {
    const answer = await browser.send(`${login}/.culvert/sessions`, {
      method: "POST",
      headers,
      body: new URLSearchParams({ session }),
    });
    await answer.body?.cancel();
    return answer.status;
  };
  const isSignedIn = async (by: Browser) =>
    /Your sessions/.test(await (await by.send(`${login}/`, { headers: navigation })).text());
  const cookie = other.jar("login.example.com").get("__Host-Http-culvert-login")!;
  const another = (await world.signIn.people.list()).sessions.map(({ id }) => id);
  for (const headers of [{}, { Origin: app }, { "Sec-Fetch-Site": "same-site" }]) {
    for (const id of another) assert.equal(await post(id, headers as never), 403);
  }
  assert.equal(await post("strangers", { Origin: login }), 303);
  assert.ok(world.sessions.known("strangers"));
  assert.ok(await isSignedIn(other), cookie);
  const [mine = "", others = ""] = [...text.matchAll(/name="session" value="([^"]*)"/g)]
    .map(([, id]) => id);
  assert.deepEqual([mine, others].sort(), own.map(({ id }) => id).sort());
  for (const id of [mine, others]) {
    if (
      !text.includes(`action="/.culvert/logout"><input type="hidden" name="session" value="${id}"`)
    ) {
      assert.equal(await post(id, { Origin: login }), 303);
    }
  }
  assert.equal(await isSignedIn(other), false);
  assert.equal(await isSignedIn(browser), true);
});
