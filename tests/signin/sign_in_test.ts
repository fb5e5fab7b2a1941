import assert from "node:assert/strict";
import { Browser, navigation, World } from "./world.ts";

const app = "https://app.example.com";

Deno.test("A page opened without a session leads through the login host and the provider to exactly the path that was asked for", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const first = await browser.send(`${app}/a%2Fb/?q=%20x&y`, { headers: navigation });
  assert.equal(first.status, 302);
  assert.equal(first.headers.get("Cache-Control"), "no-store");
  assert.match(
    first.headers.get("Location")!,
    /^https:\/\/login\.example\.com\/\.culvert\/start\?/,
  );
  assert.match(
    first.headers.getSetCookie()[0]!,
    /^__Host-Http-culvert-t-[\w-]+=[\w-]{43}; Max-Age=600; Path=\/; Secure; HttpOnly; SameSite=Lax$/,
  );
  const { url, answer } = await browser.open(`${app}/a%2Fb/?q=%20x&y`);
  assert.equal(url, `${app}/a%2Fb/?q=%20x&y`);
  assert.equal(await answer.text(), "hello ann@example.com at /a%2Fb/?q=%20x&y");
});

Deno.test("The authorization request has PKCE with S256, a nonce, a state and the one redirect URI", async () => {
  const world = await World.create();
  await new Browser(world).open(`${app}/`);
  const asked = world.provider.asked!;
  assert.equal(asked.get("code_challenge_method"), "S256");
  assert.equal(asked.get("redirect_uri"), "https://login.example.com/.culvert/callback");
  assert.match(asked.get("nonce")!, /^[\w-]{43}$/);
  assert.equal(asked.get("response_type"), "code");
});

Deno.test("Ten tabs opened at once arrive at their own pages, in whatever order they sign in", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const isCallback = (url: string) => url.startsWith("https://login.example.com/.culvert/callback");
  const tabs = [];
  for (let tab = 0; tab < 10; tab++) tabs.push(await browser.open(`${app}/tab/${tab}`, isCallback));
  assert.ok(browser.maxTransactions <= 5, `${browser.maxTransactions} cookies`);
  for (const tab of [3, 0, 9, 1, 8, 2, 7, 4, 6, 5]) {
    const { url, answer } = await browser.open(tabs[tab]!.location!);
    assert.equal(answer.status, 200);
    assert.equal(url, `${app}/tab/${tab}`);
  }
  assert.ok(browser.maxTransactions <= 5, `${browser.maxTransactions} cookies`);
});

Deno.test("Scripts, images, forms and programs without a session get 401, and no sign-in begins", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  const kinds: Record<string, string>[] = [
    { "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", Accept: "*/*" },
    { "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", Accept: "text/event-stream" },
    { "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", Accept: "image/*" },
    { "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "manifest", Accept: "*/*" },
    { "Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "serviceworker", Accept: "*/*" },
    {},
    { Accept: "*/*" },
  ];
  for (const headers of kinds) {
    const answer = await browser.send(`${app}/x`, { headers });
    assert.equal(answer.status, 401, JSON.stringify(headers));
    assert.match(answer.headers.get("WWW-Authenticate")!, /^Bearer /);
    const { error } = await answer.json();
    assert.equal(error.code, "sign_in_required");
    assert.equal(error.signInUrl, `${app}/.culvert/login`);
    assert.deepEqual(answer.headers.getSetCookie(), []);
  }
  assert.deepEqual(world.provider.requests, []);
});

Deno.test("A frame gets a page whose link opens a window, and a form that is sent one that keeps nothing", async () => {
  const browser = new Browser(await World.create());
  const frame = await browser.send(`${app}/x`, {
    headers: { ...navigation, "Sec-Fetch-Dest": "iframe" },
  });
  assert.equal(frame.status, 401);
  assert.match(
    await frame.text(),
    /href="https:\/\/app\.example\.com\/\.culvert\/login" target="_top"/,
  );
  const form = await browser.send(`${app}/x?a=1`, {
    method: "POST",
    headers: navigation,
    body: "secret=1",
  });
  assert.equal(form.status, 401);
  const text = await form.text();
  assert.match(text, /href="\/x\?a=1"/);
  assert.doesNotMatch(text, /secret/);
});

Deno.test("The session cookie is short, however many groups a person has, and no other host takes it", async () => {
  const world = await World.create();
  const groups = Array.from({ length: 1_000 }, () => crypto.randomUUID());
  world.provider.account = { ...world.provider.account, groups };
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  const cookie = browser.jar("app.example.com").get("__Host-Http-culvert")!;
  assert.ok(cookie.length < 1_024, `${cookie.length} characters`);
  const Cookie = `__Host-Http-culvert=${cookie}`;
  const other = new Browser(world);
  assert.equal((await other.send(`${app}/`, { headers: { Cookie } })).status, 200);
  assert.equal(
    (await other.send("https://other.example.com/", { headers: { Cookie } })).status,
    401,
  );
});

Deno.test("A second service needs no page of the provider's, but its own policy's word", async () => {
  const world = await World.create();
  const browser = new Browser(world);
  await browser.open(`${app}/`);
  assert.equal(world.provider.count("/authorize"), 1);
  const { url, answer } = await browser.open("https://other.example.com/in");
  assert.equal(url, "https://other.example.com/in");
  assert.equal(answer.status, 200);
  assert.equal(world.provider.count("/authorize"), 1);
  world.addSite("third");
  world.policy = (_session, { service }) =>
    service === "third"
      ? { isAllowed: false, missing: ['"admins" in groups'], tellsGroups: true }
      : { isAllowed: true, rules: [] };
  const third = await browser.open("https://third.example.com/");
  assert.equal(third.answer.status, 403);
  const text = await third.answer.text();
  for (
    const part of ["ann@example.com", "&quot;admins&quot; in groups", "Use another account", "r-1"]
  ) {
    assert.ok(text.includes(part), part);
  }
});

Deno.test("Using another account prompts for one, ends the old session, and makes no circle", async () => {
  const world = await World.create();
  world.policy = ({ subject }) =>
    subject === "bob-1"
      ? { isAllowed: true, rules: [] }
      : { isAllowed: false, missing: ['"admins" in groups'], tellsGroups: false };
  const browser = new Browser(world);
  const denied = await browser.open(`${app}/deep`);
  assert.equal(denied.answer.status, 403);
  const text = await denied.answer.text();
  assert.match(text, /groups not told/);
  const link = /href="(https:\/\/login\.[^"]+)"/.exec(text)![1]!;
  world.provider.account = { sub: "bob-1", email: "bob@example.com", email_verified: true };
  const { url, answer } = await browser.open(link);
  assert.equal(world.provider.asked!.get("prompt"), "select_account");
  assert.equal(url, `${app}/deep`);
  assert.equal(await answer.text(), "hello bob@example.com at /deep");
  assert.equal(world.sessions.size, 1);
});

Deno.test("Using another account asks for a login where the provider can't select accounts, once", async () => {
  const world = await World.create();
  world.policy = () => ({ isAllowed: false, missing: ["nothing"], tellsGroups: true });
  const browser = new Browser(world);
  const text = await (await browser.open(`${app}/deep`)).answer.text();
  const link = /href="(https:\/\/login\.[^"]+)"/.exec(text)![1]!;
  world.policy = () => ({ isAllowed: true, rules: [] });
  const prompts: (string | null)[] = [];
  let known = ["login"];
  world.provider.respond = (answer) => {
    const prompt = world.provider.asked!.get("prompt");
    prompts.push(prompt);
    if (known.includes(prompt!)) return;
    answer.delete("code");
    answer.set("error", "invalid_request");
  };
  const { url, answer } = await browser.open(link);
  assert.equal(answer.status, 200);
  assert.equal(url, `${app}/deep`);
  assert.deepEqual(prompts, ["select_account", "login"]);
  known = [];
  assert.equal((await browser.open(link)).answer.status, 403);
  assert.deepEqual(prompts.slice(2), ["select_account", "login"]);
});

Deno.test("A callback without the cookie of its sign-in, or with another browser's, gets 400 and no session", async () => {
  const world = await World.create();
  const isCallback = (url: string) => url.startsWith(`${app}/.culvert/callback`);
  const isLoginCallback = (url: string) =>
    url.startsWith("https://login.example.com/.culvert/callback");
  for (const stop of [isCallback, isLoginCallback]) {
    const { location } = await new Browser(world).open(`${app}/mine`, stop);
    const stranger = new Browser(world);
    await stranger.send(`${app}/`, { headers: navigation });
    const { answer } = await stranger.open(location!);
    assert.equal(answer.status, 400);
    assert.match(await answer.text(), /Try again/);
    for (const jar of stranger.jars.values()) {
      assert.ok(![...jar.keys()].some((name) => /culvert(?:-login)?$/.test(name)));
    }
  }
});

Deno.test("A code works once, at its own host, and for a minute", async () => {
  const world = await World.create();
  const isCallback = (url: string) => url.startsWith(`${app}/.culvert/callback`);
  const browser = new Browser(world);
  const { location } = await browser.open(`${app}/mine`, isCallback);
  const elsewhere = location!.replace("app.example.com", "other.example.com");
  assert.equal((await browser.send(elsewhere, { headers: navigation })).status, 400);
  assert.equal((await browser.send(location!, { headers: navigation })).status, 303);
  const copy = new Browser(world);
  for (const [name, value] of browser.jar("app.example.com")) {
    if (name.includes("-t-")) copy.jar("app.example.com").set(name, value);
  }
  assert.equal((await copy.send(location!, { headers: navigation })).status, 400);
  const late = new Browser(world);
  const { location: old } = await late.open(`${app}/mine`, isCallback);
  world.aheadMs = 61_000;
  assert.equal((await late.send(old!, { headers: navigation })).status, 400);
  assert.ok(world.lines.some(({ message }) => message === "Refused a sign-in's code"));
});

Deno.test("A return path never leads to another origin or to a page of the relay's own", async () => {
  const world = await World.create();
  const paths = [
    "//evil.example",
    "/\\evil.example",
    "/%09/evil.example",
    "/%2f%2fevil.example",
    "/%5cevil.example",
    "/.culvert/logout",
    "/.%63ulvert/logout",
    "/.CULVERT\\logout",
    "/x/../.culvert/logout",
    "/x/%2e%2e/.culvert/logout",
    "/a\u00e9",
  ];
  for (const target of paths) {
    const browser = new Browser(world);
    const { demandSignIn } = await import("../../lib/relay/signin/answers.tsx");
    const { field } = await import("../../lib/http1/head.ts");
    const fields = Object.entries(navigation).map(([name, value]) => field(name, value));
    const site = world.sites.get("app.example.com")!;
    const answer = await demandSignIn(world.signIn, site, {
      head: { method: "GET", target, fields },
    });
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]+)/.exec(line)!;
      browser.jar("app.example.com").set(name!, value!);
    }
    const page = await browser.open(answer.headers.get("Location")!);
    assert.equal(page.url, `${app}/`, target);
  }
});
