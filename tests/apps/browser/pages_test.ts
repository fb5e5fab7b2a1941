/**
 * The relay's own pages in a real browser: what they show by day and night, on a desk and on a phone,
 * and whether axe-core finds them accessible. Screenshots are left in `dist/screenshots/`.
 */
import axe from "axe-core";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Page } from "puppeteer-core";
import { PAGE_TIMEOUT_MS } from "./browser.ts";
import { adminToken, domain, longGroup, type Site, withSite } from "./sign_in_site.ts";

const folder = fileURLToPath(new URL("../../../dist/screenshots/", import.meta.url));

/** A page, and what somebody must be able to read on it. */
interface Shown {
  readonly name: string;
  readonly host: string;
  readonly path: string;
  readonly texts: readonly string[];
}

const pages: readonly Shown[] = [
  {
    name: "portal",
    host: "login",
    path: "/",
    texts: [
      ...["Services", "app", `app.${domain}`, "Connected", "Your sessions", "Sign out"],
      ...["access tcp database.", "ann@example.com"],
    ],
  },
  {
    name: "status",
    host: "login",
    path: "/status",
    texts: [
      ...["Status", "Clusters and agents", "dev", "127.0.0.1", "culvert-agent/", "Disconnect"],
      ...[
        "Open to everybody: service open",
        "People's sessions",
        "ann@example.com",
        "Certificates",
      ],
      ...["Limits hit", "Latest requests", "Configuration", "Relays"],
    ],
  },
  {
    name: "denied",
    host: "closed",
    path: "/",
    texts: [
      ...["You may not open this service", "ann@example.com (corp)", `"${longGroup}" in groups`],
      ...["Use another account", "Request"],
    ],
  },
];

const widths = [1280, 390];
const schemes = ["light", "dark"] as const;

async function signIn({ origin, open }: Site): Promise<void> {
  await using page = await open(`${origin("login")}/`);
  await page.shows("Not signed in");
  await page.click("main .button");
  await page.shows("Log in at the provider");
  await page.click("button");
  await page.shows("Your sessions");
  await using app = await open(`${origin("app")}/`);
  await app.shows(`of app.${domain}`);
}

async function look(site: Site, { name, host, path, texts }: Shown): Promise<void> {
  await using shown = await site.open("about:blank");
  const { page } = shown;
  for (const width of widths) {
    const colors = [];
    for (const scheme of schemes) {
      await page.setViewport({ width, height: width < 600 ? 844 : 800 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await page.goto(site.origin(host) + path, { waitUntil: "load" });
      for (const text of texts) await shown.shows(text);
      const place = `${name}-${width}-${scheme}`;
      await fitsIn(page, width, place);
      colors.push(await page.evaluate("getComputedStyle(document.body).backgroundColor"));
      const image = await page.screenshot({ type: "png", fullPage: true });
      // Bytes 16 to 19 of a PNG are its width.
      equal(new DataView(image.buffer, image.byteOffset).getUint32(16), width, place);
      await Deno.writeFile(`${folder}${place}.png`, image);
      deepEqual(await faultsOf(page), [], place);
    }
    equal(new Set(colors).size, schemes.length, `${name}: ${colors.join()}`);
  }
}

async function fitsIn(page: Page, width: number, place: string): Promise<void> {
  const [scrollWidth, innerWidth] = await page.evaluate(
    "[document.scrollingElement.scrollWidth, innerWidth]",
  ) as [number, number];
  equal(innerWidth, width, place);
  ok(scrollWidth <= innerWidth, `${place}: ${scrollWidth} px of ${innerWidth}`);
}

/** What axe-core finds, by rule and place. The debugger runs it, which no page's policy forbids. */
async function faultsOf(page: Page): Promise<string[]> {
  // The page's script must not replace what is being looked at.
  await page.evaluate(
    "document.querySelectorAll('[data-live]').forEach((it) => it.removeAttribute('data-live'))",
  );
  await page.evaluate(axe.source);
  const { violations, passes } = await page.evaluate("axe.run(document)") as axe.AxeResults;
  ok(passes.some(({ id }) => id === "color-contrast"), "axe-core has looked at the page");
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ target, failureSummary }) =>
      `${id} (${help}) at ${target.join(" ")}: ${failureSummary}`
    )
  );
}

async function withoutScript({ origin, open }: Site): Promise<void> {
  await using shown = await open("about:blank");
  const { page } = shown;
  await page.setJavaScriptEnabled(false);
  const go = async (selector: string) => {
    await Promise.all([
      page.waitForNavigation({ waitUntil: "load", timeout: PAGE_TIMEOUT_MS }),
      page.click(selector),
    ]);
    return await page.content();
  };
  await page.goto(`${origin("login")}/status`);
  const text = await page.content();
  match(text, /culvert-agent\//);
  const sorted = await go('#clusters thead a[href*="sort=streams"]');
  match(sorted, /aria-sort="ascending"/);
  const question = await go('a[href*="what=agent"]');
  match(question, /Disconnect this agent\?/);
  const after = await go('main button[type="submit"]');
  equal(page.url(), `${origin("login")}/status`);
  match(after, /Clusters and agents/);
}

/** On the admin listener, a browser is asked for a token, and keeps a session. */
async function withToken({ adminUrl, browser }: Site): Promise<void> {
  const context = await browser.createBrowserContext();
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(PAGE_TIMEOUT_MS);
    await page.goto(`${adminUrl}/`, { waitUntil: "load" });
    equal(page.url(), `${adminUrl}/status`);
    deepEqual(await faultsOf(page), [], "the form for the token");
    await page.screenshot({ path: `${folder}token.png` });
    const submit = async (token: string) => {
      await page.type("#token", token);
      const loaded = page.waitForNavigation({ waitUntil: "load" });
      await Promise.all([loaded, page.click('main button[type="submit"]')]);
      return await page.content();
    };
    match(await submit("a-token-of-nobody-0123456789"), /role="alert"/);
    match(await submit(adminToken), /Clusters and agents[\s\S]*culvert-agent\//);
    const [cookie] = await context.cookies();
    equal(cookie?.httpOnly, true);
    equal(cookie?.sameSite, "Strict");
    await page.goto(`${adminUrl}/status/end?what=agent&id=gone`);
    match(await page.content(), /It no longer exists/);
    await Promise.all([
      page.waitForNavigation({ waitUntil: "load" }),
      page.click('form[action="/status/sign-out"] button'),
    ]);
    match(await page.content(), /Token of the admin API/);
  } finally {
    await context.close();
  }
}

/** Something opens, and the page says so without being loaded again. */
async function liveUpdate(site: Site): Promise<void> {
  const { origin, open } = site;
  await using status = await open(`${origin("login")}/status`);
  await status.shows("Live");
  await status.page.evaluate("globalThis.isSame = true");
  await using app = await open(`${origin("app")}/`);
  const url = `${origin("app").replace("https:", "wss:")}/socket`;
  await app.page.evaluate(`globalThis.socket = new WebSocket(${JSON.stringify(url)})`);
  await status.page.bringToFront();
  await status.shows("/socket");
  equal(await status.page.evaluate("globalThis.isSame"), true);
}

/** By its keyboard alone: what has the focus is seen, and Enter opens it. */
async function byKeyboard({ origin, open }: Site): Promise<void> {
  await using shown = await open(`${origin("login")}/`);
  const { page } = shown;
  await page.focus('a.whole[href*="//app."]');
  await page.keyboard.press("Tab");
  await page.keyboard.down("Shift");
  await page.keyboard.press("Tab");
  await page.keyboard.up("Shift");
  const outline = await page.evaluate(
    "getComputedStyle(document.activeElement.closest('li')).outlineStyle",
  );
  equal(outline, "solid");
  await page.keyboard.press("Enter");
  await shown.shows(`of app.${domain}`);
}

Deno.test("the relay's own pages in a browser, by day and night, on a desk and on a phone", async (t) => {
  await Deno.mkdir(folder, { recursive: true });
  await withSite(async (site) => {
    await t.step(
      "somebody signs in at the login host, and comes to the portal",
      () => signIn(site),
    );
    for (const shown of pages) {
      await t.step(`the page "${shown.name}" is readable and accessible everywhere`, () => {
        return look(site, shown);
      });
    }
    await t.step("the portal is used by keyboard", () => byKeyboard(site));
    await t.step("the status page changes while it is looked at", () => liveUpdate(site));
    await t.step("the admin listener asks a browser for a token, once", () => withToken(site));
    await t.step("without scripts, links and forms do everything", () => withoutScript(site));
    await t.step("no Content-Security-Policy has stopped anything", () => {
      deepEqual(site.policyErrors, []);
    });
  });
});
