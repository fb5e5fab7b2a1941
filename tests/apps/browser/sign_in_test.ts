/** People sign in with a real browser, at a certified provider, over TLS and HTTP/2. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { Page } from "puppeteer-core";
import { beginAuthorization, readCallback } from "../../../lib/access/authorization.ts";
import { WatchedPage } from "./browser.ts";
import { domain, longGroup, type Site, withSite } from "./sign_in_site.ts";

/** Runs a script in the page, and shows its result there. */
async function showResult({ page }: WatchedPage, script: string): Promise<void> {
  await page.evaluate(`(async () => {
    const show = (text) => { document.getElementById("result").textContent = text; };
    ${script}
  })()`);
}

/** A script that opens a WebSocket and shows what becomes of it. */
function socketScript(url: string): string {
  return `globalThis.socket = new WebSocket(${JSON.stringify(url)});
    socket.onopen = () => socket.send("hello");
    socket.onmessage = ({ data }) => show("received: " + data);
    socket.onclose = () => { globalThis.closedMs = Date.now(); show("the WebSocket is closed"); };`;
}

/** The deep link that is opened first. */
const deepLink = "/a%2Fb/c?x=1&y=%20z";

async function signInByDeepLink({ browser, origin, open }: Site): Promise<void> {
  await using page = await open(origin("app") + deepLink);
  await page.shows("Log in at the provider");
  await page.click("button");
  await page.shows(`at ${deepLink} of app.${domain}`);
  equal(page.page.url(), origin("app") + deepLink);
  const cookies = (await browser.cookies()).filter(({ domain: of }) => of === `app.${domain}`);
  const session = cookies.find(({ name }) => name === "__Host-Http-culvert");
  ok(session?.secure && session.httpOnly, JSON.stringify(cookies.map(({ name }) => name)));
  equal(session.sameSite, "Lax");
  deepEqual(cookies.map(({ name }) => name), ["__Host-Http-culvert"]);
  ok(page.protocols.has("h2"), [...page.protocols].join());
}

async function openSecondService({ origin, open }: Site): Promise<void> {
  await using page = await open(`${origin("other")}/second?q=2`);
  await page.shows(`at /second?q=2 of other.${domain}`);
}

/** The provider's host is another site, whose page has the link. */
async function followLink({ origin, open, provider }: Site, name: string): Promise<WatchedPage> {
  const page = await open(`${provider.issuer}/some-page`);
  await page.page.evaluate(
    `location.href = ${JSON.stringify(`${origin(name)}/away?to=${provider.issuer}/nowhere`)}`,
  );
  await page.shows(`Continue to ${name}?`);
  await page.shows("You are signed in as ann@example.com.");
  return page;
}

async function followLinkToAnotherSite(site: Site): Promise<void> {
  await using page = await followLink(site, "linked");
  await page.click("main .button");
  await page.holds(
    `location.href === ${JSON.stringify(`${site.provider.issuer}/nowhere`)}`,
  );
}

async function openClosedService({ origin, open }: Site): Promise<void> {
  await using page = await open(`${origin("closed")}/`);
  await page.page.setViewport({ width: 390, height: 844 });
  await page.shows("You may not open this service");
  await page.shows("ann@example.com (corp)");
  await page.shows(`"${longGroup}" in groups`);
  await page.shows("groups not told");
  const [width, innerWidth] = await page.page.evaluate(
    "[document.scrollingElement.scrollWidth, innerWidth]",
  ) as [number, number];
  equal(innerWidth, 390);
  ok(width <= innerWidth, `${width} px of ${innerWidth}`);
  const image = await page.page.screenshot({ type: "png" });
  // Bytes 16 to 19 of a PNG are its width.
  equal(new DataView(image.buffer, image.byteOffset).getUint32(16), 390);
  const radius = await page.page.evaluate(
    "getComputedStyle(document.querySelector('main')).borderRadius",
  );
  equal(radius, "12px", "the style sheet applies");
  await page.click("main .button");
  await page.shows("Log in at the provider");
}

/** A profile of its own has no cookies. */
async function fetchWithoutSession({ browser, origin }: Site): Promise<void> {
  const context = await browser.createBrowserContext();
  try {
    const page = await context.newPage();
    // Of the service's origin, and open to anybody.
    await page.goto(`${origin("app")}/.culvert/style.css`);
    const [status, type, text] = await page.evaluate(
      `fetch("/api/items").then(async (it) =>
        [it.status, it.headers.get("content-type"), await it.text()])`,
    ) as [number, string, string];
    equal(status, 401);
    match(type, /^application\/json/);
    const { error } = JSON.parse(text);
    equal(error.message, "sign in to open this service");
    equal(error.signInUrl, `${origin("app")}/.culvert/login`);
  } finally {
    await context.close();
  }
}

/** Asks for something in each way in which a page can, and says what the page gets to know. */
const askInEachWay = `(() => {
  const told = (begin) => new Promise((resolve) => begin(resolve));
  const add = (name, properties, resolve) => {
    const element = Object.assign(document.createElement(name), properties);
    element.onload = () => resolve("loaded");
    element.onerror = () => resolve("failed");
    document.body.append(element);
  };
  return Promise.all([
    fetch("/ask/fetch").then((it) => it.status),
    told((resolve) => {
      const request = new XMLHttpRequest();
      request.onloadend = () => resolve(request.status);
      request.open("GET", "/ask/xhr");
      request.send();
    }),
    told((resolve) => {
      const events = new EventSource("/ask/events");
      events.onerror = () => resolve(events.readyState);
    }),
    told((resolve) => add("img", { src: "/ask/image" }, resolve)),
    told((resolve) => add("script", { src: "/ask/script.js" }, resolve)),
    told((resolve) => add("iframe", { src: "/ask/frame" }, resolve)),
    navigator.serviceWorker.register("/ask/worker.js").then(() => "loaded", () => "failed"),
  ]);
})()`;

/** A redirect to the provider would fail each of these without a status, and ask the provider. */
async function askWithoutSession({ browser, origin, provider }: Site): Promise<void> {
  const context = await browser.createBrowserContext();
  try {
    const page = await context.newPage();
    const statuses = new Map<string, number>();
    const elsewhere: string[] = [];
    page.on("response", (response) => {
      const { pathname, origin: from } = new URL(response.url());
      statuses.set(pathname, response.status());
      if (from === provider.issuer) elsewhere.push(pathname);
    });
    await page.goto(`${origin("app")}/.culvert/style.css`);
    // 2 is EventSource.CLOSED.
    deepEqual(await page.evaluate(askInEachWay), [
      ...[401, 401, 2, "failed", "failed", "loaded", "failed"],
    ]);
    for (const path of ["fetch", "xhr", "events", "image", "script.js", "frame"]) {
      equal(statuses.get(`/ask/${path}`), 401, path);
    }
    const frame = page.frames().find((frame) => frame.url().endsWith("/ask/frame"))!;
    const target = await frame.evaluate(`document.querySelector("main a").target`);
    equal(target, "_top");
    deepEqual(elsewhere, []);
    deepEqual(await context.cookies(), []);
  } finally {
    await context.close();
  }
}

async function openSockets({ origin, open }: Site): Promise<void> {
  const url = `${origin("app").replace("https:", "wss:")}/socket`;
  await using own = await open(`${origin("app")}/`);
  await showResult(own, socketScript(url));
  await own.shows("received: echo hello");
  for (const name of ["other", "open"]) {
    await using foreign = await open(`${origin(name)}/`);
    await foreign.shows(`of ${name}.${domain}`);
    const messages: string[] = [];
    foreign.page.on("console", (message) => messages.push(message.text()));
    await showResult(foreign, socketScript(url));
    await foreign.shows("the WebSocket is closed");
    // Not 401: the browser sent the session's cookie along.
    match(messages.join("\n"), /Unexpected response code: 403/);
  }
}

/** When the page's form is sent, by the browser's clock: that of the test knows when it asked for it. */
async function formSent(page: Page): Promise<{ readonly ms: Promise<number> }> {
  const session = await page.createCDPSession();
  const { promise, resolve } = Promise.withResolvers<number>();
  session.on("Network.requestWillBeSent", ({ request: { method }, wallTime }) => {
    if (method === "POST") resolve(wallTime * 1_000);
  });
  await session.send("Network.enable");
  return { ms: promise };
}

async function signOut(site: Site): Promise<void> {
  const { origin, open, provider } = site;
  await using late = await followLink(site, "late");
  await using working = await open(`${origin("app")}/`);
  const url = `${origin("app").replace("https:", "wss:")}/socket`;
  await showResult(working, socketScript(url));
  await working.shows("received: echo hello");
  await using leaving = await open(`${origin("other")}/.culvert/logout`);
  await leaving.shows("Sign out?");
  const sent = await formSent(leaving.page);
  await leaving.click("button");
  await leaving.holds(
    `location.origin === ${JSON.stringify(provider.issuer)} && document.querySelector("button")`,
  );
  await working.shows("the WebSocket is closed");
  const closedMs = Number(await working.page.evaluate("closedMs"));
  const tookMs = closedMs - await sent.ms;
  ok(tookMs < 2_000, `${tookMs} ms`);
  await leaving.click('button[value="yes"]');
  await leaving.shows("Signed out");
  await leaving.shows("You are signed out of all services behind this relay.");
  equal(leaving.page.url().split("?")[0], `${origin("login")}/.culvert/signed-out`);
  const status = await working.page.evaluate(`fetch("/").then((it) => it.status)`);
  equal(status, 401);
  await using again = await open(`${origin("app")}/`);
  await again.shows("Log in at the provider");
  // The session that this page was made for has ended.
  await late.page.bringToFront();
  await late.click("main .button");
  await late.shows("Log in at the provider");
}

/** As `access` does: the browser comes back to a port of this machine. */
async function signInForProgram({ origin, open }: Site): Promise<void> {
  const came = Promise.withResolvers<string>();
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    ({ url }) => {
      if (url.includes("/callback?")) came.resolve(url);
      return new Response("<p>back at the program", { headers: { "Content-Type": "text/html" } });
    },
  );
  const request = {
    ...{ origin: origin("app"), hosts: [`app.${domain}`] },
    ...{ program: "culvert access", machine: "laptop7" },
  };
  const redirectUri = `http://127.0.0.1:${server.addr.port}/callback`;
  const authorization = await beginAuthorization(request, redirectUri);
  await using page = await open(authorization.url);
  await page.shows("Sign in to culvert access?");
  await page.shows("laptop7");
  await page.click("main form button");
  await page.shows("back at the program");
  const callback = readCallback((await came.promise).replace(/^http:\/\/[^/]+/, ""), authorization);
  equal(callback.kind, "code");
}

Deno.test("people sign in to services with a browser, over HTTPS, and sign out", async (t) => {
  await withSite(async (site) => {
    await t.step("a deep link leads through the provider's login to its path and query", () => {
      return signInByDeepLink(site);
    });
    await t.step("a second service opens without a login page", () => openSecondService(site));
    await t.step("a link from another site leads through a service to where that redirects", () => {
      return followLinkToAnotherSite(site);
    });
    await t.step("whom a policy does not let in reads the account and the missing rule", () => {
      return openClosedService(site);
    });
    await t.step("fetch() without a session gets a 401 that scripts can read", () => {
      return fetchWithoutSession(site);
    });
    await t.step("scripts, images, frames and workers without a session ask no provider", () => {
      return askWithoutSession(site);
    });
    await t.step("a WebSocket opens for the service's own page, not for another's", () => {
      return openSockets(site);
    });
    await t.step("a program's page asks for consent, and leads back to the program", () => {
      return signInForProgram(site);
    });
    await t.step("signing out by the form ends at the provider too, and what is open", () => {
      return signOut(site);
    });
    await t.step("no Content-Security-Policy has stopped anything", () => {
      deepEqual(site.policyErrors, []);
      deepEqual(site.provider.errors, []);
    });
  });
});
