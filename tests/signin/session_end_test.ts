import assert from "node:assert/strict";
import type { JWTPayload } from "jose";
import { Browser, navigation, World } from "./world.ts";

const app = "https://app.example.com";
const login = "https://login.example.com";
const script = { "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin" };

async function signedIn(): Promise<{ world: World; browser: Browser }> {
  const world = await World.create();
  const browser = new Browser(world);
  const { answer } = await browser.open(`${app}/`);
  assert.equal(answer.status, 200);
  return { world, browser };
}

async function status(browser: Browser, url = `${app}/x`): Promise<number> {
  const answer = await browser.send(url, { headers: script });
  await answer.body?.cancel();
  return answer.status;
}

Deno.test("Fifty requests at the moment when claims get old cause one refresh, and all of them pass", async () => {
  const { world, browser } = await signedIn();
  world.aheadMs = 10 * 60_000 + 1;
  const before = world.provider.count("/token");
  const all = await Promise.all(Array.from({ length: 50 }, () => status(browser)));
  assert.deepEqual(new Set(all), new Set([200]));
  assert.equal(world.provider.count("/token") - before, 1);
  // The rotated token is the one that counts from then on.
  world.aheadMs += 10 * 60_000 + 1;
  assert.equal(await status(browser), 200);
  assert.equal(world.provider.count("/token") - before, 2);
});

Deno.test("A refresh that the provider refuses ends the session; one that fails otherwise does not", async () => {
  const { world, browser } = await signedIn();
  world.aheadMs = 10 * 60_000 + 1;
  world.provider.refreshing = "down";
  assert.equal(await status(browser), 200);
  const asked = world.provider.count("/token");
  assert.equal(await status(browser), 200);
  assert.equal(world.provider.count("/token"), asked, "asked again at once");
  world.aheadMs += 31_000;
  world.provider.refreshing = "invalid_grant";
  assert.equal(await status(browser), 401);
  assert.equal(world.ended, 1);
  assert.equal((await browser.open(`${app}/again`)).url, `${app}/again`);
});

Deno.test("A store that fails during a refresh refuses the request, and nothing besides", async () => {
  for (const refreshing of ["ok", "down", "invalid_grant"] as const) {
    const { world, browser } = await signedIn();
    const { id } = world.forwarded[0]!.session;
    if (refreshing !== "ok") world.provider.refreshing = refreshing;
    world.sessions.update = () => Promise.reject(new TypeError("refresh-token"));
    world.sessions.end = () => Promise.reject(new TypeError("refresh-token"));
    world.aheadMs = 10 * 60_000 + 1;
    // What is open looks at its session without waiting for the refresh.
    assert.ok(world.signIn.current(id));
    assert.equal(await status(browser), 401, refreshing);
    const told = world.lines.filter(({ message }) =>
      message.startsWith("Could not store a refreshed session")
    );
    assert.ok(told.length > 0, refreshing);
    for (const { error, session } of told) assert.deepEqual([error, session], ["TypeError", id]);
    assert.doesNotMatch(JSON.stringify(told), /refresh-token/);
  }
});

Deno.test("A refresh brings new claims, and the policy decides by them", async () => {
  const { world, browser } = await signedIn();
  world.policy = ({ claims }) =>
    (claims["groups"] as string[]).includes("ops")
      ? { isAllowed: true, rules: [] }
      : { isAllowed: false, missing: ['"ops" in groups'], tellsGroups: true };
  assert.equal(await status(browser), 200);
  world.provider.account = { ...world.provider.account, groups: [] };
  world.aheadMs = 10 * 60_000 + 1;
  assert.equal(await status(browser), 403);
});

Deno.test("A session ends after its time, and without requests after its idle time", async () => {
  const { world, browser } = await signedIn();
  world.aheadMs = 3_600_001;
  assert.equal(await status(browser), 401);
  await browser.open(`${app}/`);
  for (let minutes = 0; minutes < 12 * 60; minutes += 50) {
    world.aheadMs += 50 * 60_000;
    const isOver = minutes + 50 > 12 * 60;
    assert.equal(await status(browser), isOver ? 401 : 200, `${minutes} min`);
  }
});

Deno.test("A session with something open is not idle, and ends at its time all the same", async () => {
  const { world, browser } = await signedIn();
  await status(browser);
  const { session } = world.forwarded.at(-1)!;
  const grant = world.signIn.grantOf(session);
  for (let minutes = 50; minutes < 12 * 60; minutes += 50) {
    world.aheadMs = minutes * 60_000;
    assert.ok(grant.isValid(Date.now() + world.aheadMs), `${minutes} min`);
  }
  assert.equal(await status(browser), 200);
  world.aheadMs = 12 * 60 * 60_000 + 1_000;
  assert.ok(!grant.isValid(Date.now() + world.aheadMs));
  assert.equal(await status(browser), 401);
});

Deno.test("What a session has begun loses its grant with it", async () => {
  const { world, browser } = await signedIn();
  await status(browser);
  const { session } = world.forwarded.at(-1)!;
  const grant = world.signIn.grantOf(session);
  assert.ok(grant.mayReach("", Date.now()));
  await browser.send(`${app}/.culvert/logout`, {
    method: "POST",
    headers: { "Sec-Fetch-Site": "same-origin" },
  });
  assert.ok(!grant.mayReach("", Date.now()));
});

Deno.test("An open request whose session can be refreshed goes on, and asks the provider once", async () => {
  const { world, browser } = await signedIn();
  await status(browser);
  const { session } = world.forwarded.at(-1)!;
  const grant = world.signIn.grantOf(session);
  world.aheadMs = 10 * 60_000 + 1;
  const asked = world.provider.count("/token");
  for (let times = 0; times < 3; times++) {
    assert.ok(grant.mayReach("", Date.now() + world.aheadMs));
  }
  await status(browser);
  assert.equal(world.provider.count("/token") - asked, 1);
  assert.ok(grant.mayReach("", Date.now() + world.aheadMs));
});

Deno.test("Signing out needs a form of the host's own, and ends the session at every service and at the provider", async () => {
  const { browser } = await signedIn();
  await browser.open("https://other.example.com/");
  const image = await browser.send(`${app}/.culvert/logout`, {
    headers: { "Sec-Fetch-Dest": "image", "Sec-Fetch-Site": "cross-site" },
  });
  assert.equal(image.status, 200);
  assert.equal(image.headers.get("Cache-Control"), "no-store");
  // Browsers hold all redirects behind the form to this list, and providers may have some of their own.
  const policy = image.headers.get("Content-Security-Policy");
  assert.match(policy!, new RegExp(`form-action 'self' ${login} https:;`));
  // Otherwise browsers without Fetch Metadata would call the page's own form's origin "null".
  assert.equal(image.headers.get("Referrer-Policy"), "same-origin");
  for (
    const headers of [
      { "Sec-Fetch-Site": "same-site" },
      { Origin: "https://other.example.com" },
      { Origin: "null" },
      {},
    ]
  ) {
    const answer = await browser.send(`${app}/.culvert/logout`, { method: "POST", headers });
    assert.equal(answer.status, 403);
  }
  assert.equal(await status(browser), 200);
  const cookie = browser.jar("app.example.com").get("__Host-Http-culvert");
  const answer = await browser.send(`${app}/.culvert/logout`, {
    method: "POST",
    headers: { Origin: app },
  });
  assert.equal(answer.status, 303);
  const url = new URL(answer.headers.get("Location")!);
  assert.equal(url.origin + url.pathname, "https://idp.example.net/logout");
  assert.equal(url.searchParams.get("client_id"), "culvert");
  assert.equal(url.searchParams.get("logout_hint"), "ann@example.com");
  assert.equal(url.searchParams.get("post_logout_redirect_uri"), `${login}/.culvert/signed-out`);
  assert.equal(url.searchParams.get("id_token_hint"), null);
  assert.equal(answer.headers.get("Clear-Site-Data"), '"cache"');
  assert.ok(!browser.jar("app.example.com").has("__Host-Http-culvert"));
  assert.equal(await status(browser, "https://other.example.com/"), 401);
  browser.jar("app.example.com").set("__Host-Http-culvert", cookie!);
  assert.equal(await status(browser), 401);
  const out = await browser.open(`${login}/.culvert/signed-out`);
  assert.match(await out.answer.text(), /Signed out/);
});

Deno.test("A back-channel logout ends the person's sessions once, and refuses tokens that are on their way", async () => {
  const { world, browser } = await signedIn();
  const post = async (token: string) => {
    const answer = await browser.send(`${login}/.culvert/backchannel-logout`, {
      method: "POST",
      body: new URLSearchParams({ logout_token: token }),
    });
    await answer.body?.cancel();
    return answer.status;
  };
  const wrong: ((claims: JWTPayload, header: Record<string, unknown>) => void)[] = [
    (_claims, header) => header["typ"] = "at+jwt",
    (_claims, header) => header["typ"] = "JWT",
    (claims) => claims.aud = "other",
    (claims) => claims.iss = "https://evil.example",
    (claims) => claims["nonce"] = "n",
    (claims) => delete claims["events"],
    (claims) => claims["events"] = { other: {} },
    (claims) => delete claims.jti,
    (claims) => claims.iat = claims.iat! - 3_600,
    (claims) => claims.iat = claims.iat! + 3_600,
    (claims) => delete claims.iat,
    (claims) => delete claims.sub,
    (claims) => claims["sub"] = 5 as unknown as string,
  ];
  for (const change of wrong) {
    // Each has its own relay: refusals of one address are slowed down after the first few.
    const other = await World.create();
    await new Browser(other).open(`${app}/`);
    const answer = await new Browser(other).send(`${login}/.culvert/backchannel-logout`, {
      method: "POST",
      body: new URLSearchParams({ logout_token: await other.provider.logoutToken(change) }),
    });
    await answer.body?.cancel();
    assert.equal(answer.status, 400, String(change));
    assert.equal(other.sessions.size, 1);
  }
  for (const token of ["", "x", "a.b.c"]) assert.ok([400, 429].includes(await post(token)));
  assert.equal(await status(browser), 200);
  const callback = (url: string) => url.startsWith(`${login}/.culvert/callback`);
  const late = await new Browser(world).open(`${app}/`, callback);
  assert.ok(late.location);
  const token = await world.provider.logoutToken();
  assert.equal(await post(token), 200);
  assert.equal(await status(browser), 401);
  assert.equal(world.ended, 1);
  assert.equal(await post(token), 400);
});

Deno.test("A logout token may lack a type, and end sessions by the provider's session and person", async () => {
  const { world, browser } = await signedIn();
  world.provider.idTokenClaims = { sid: "idp-elsewhere" };
  const elsewhere = new Browser(world);
  await elsewhere.open(`${app}/`);
  const token = await world.provider.logoutToken((claims, header) => {
    delete header["typ"];
    claims["sid"] = "idp-ann-1";
  });
  const answer = await browser.send(`${login}/.culvert/backchannel-logout`, {
    method: "POST",
    body: new URLSearchParams({ logout_token: token }),
  });
  assert.equal(answer.status, 200);
  assert.equal(await status(browser), 401);
  assert.equal(await status(elsewhere), 200);
});

Deno.test("With the provider's clock ahead, a logout still refuses ID tokens from before it", async () => {
  const { world, browser } = await signedIn();
  // The provider is 25 s ahead of the relay.
  world.aheadMs = -25_000;
  const late = new Browser(world);
  const callback = (url: string) => url.startsWith(`${login}/.culvert/callback`);
  const page = await late.open(`${app}/`, callback);
  const issued = Math.floor(Date.now() / 1_000);
  world.provider.mutate = (claims) => claims.iat = issued - 1;
  const answer = await browser.send(`${login}/.culvert/backchannel-logout`, {
    method: "POST",
    body: new URLSearchParams({ logout_token: await world.provider.logoutToken() }),
  });
  assert.equal(answer.status, 200);
  assert.equal((await late.open(page.location!)).answer.status, 403);
  world.provider.mutate = (claims) => claims.iat = issued + 4;
  assert.equal((await late.open(`${app}/`)).answer.status, 200);
});

Deno.test("Back-channel logout by the provider's session leaves other people alone", async () => {
  const { world, browser } = await signedIn();
  world.provider.account = { sub: "bob-1", email: "bob@example.com", email_verified: true };
  const bob = new Browser(world);
  await bob.open(`${app}/`);
  const token = await world.provider.logoutToken((claims) => {
    delete claims.sub;
    claims["sid"] = "idp-ann-1";
  });
  const answer = await bob.send(`${login}/.culvert/backchannel-logout`, {
    method: "POST",
    body: new URLSearchParams({ logout_token: token }),
  });
  assert.equal(answer.status, 200);
  assert.equal(await status(browser), 401);
  assert.equal(await status(bob), 200);
});

Deno.test("A cookie that is being opened while its key is removed is not taken for good", async () => {
  const { world, browser } = await signedIn();
  world.signIn.keysReplaced();
  const opening = status(browser);
  await world.keys.replace([new Uint8Array(32).fill(9)]);
  world.signIn.keysReplaced();
  await opening;
  assert.equal(await status(browser), 401);
});

Deno.test("Keys can be rotated in three steps without signing anybody out", async () => {
  const { world, browser } = await signedIn();
  const [old, next] = [new Uint8Array(32).fill(7), new Uint8Array(32).fill(8)];
  for (const keys of [[old, next], [next, old]]) {
    await world.keys.replace(keys);
    world.signIn.keysReplaced();
    assert.equal(await status(browser), 200);
  }
  const second = new Browser(world);
  await second.open(`${app}/`);
  await world.keys.replace([next]);
  world.signIn.keysReplaced();
  assert.equal(await status(browser), 401);
  assert.equal(await status(second), 200);
});

Deno.test("A link from another site to a service asks before it hands a session over", async () => {
  const { world, browser } = await signedIn();
  const start = await browser.send("https://other.example.com/in", {
    headers: { ...navigation, "Sec-Fetch-Site": "cross-site" },
  });
  const url = start.headers.get("Location")!;
  const page = await browser.send(url, {
    headers: { ...navigation, "Sec-Fetch-Site": "cross-site" },
  });
  assert.equal(page.status, 200);
  const text = await page.text();
  assert.match(text, /Continue to other\?/);
  assert.match(text, /signed in as ann@example\.com/);
  // Browsers hold the redirects that follow a form, the service's own too, to form-action.
  assert.doesNotMatch(text, /<form/);
  const link = new URL(/ href="([^"]+)">Continue/.exec(text)![1]!, url).href;
  const foreign = await browser.send(link, {
    headers: { ...navigation, "Sec-Fetch-Site": "cross-site" },
  });
  assert.equal(foreign.status, 200);
  assert.match(await foreign.text(), /Continue to other\?/);
  const go = await browser.send(link, {
    headers: { ...navigation, "Sec-Fetch-Site": "same-origin" },
  });
  assert.equal(
    (await browser.open(go.headers.get("Location")!)).url,
    "https://other.example.com/in",
  );
  assert.equal(world.provider.count("/authorize"), 1);
});
