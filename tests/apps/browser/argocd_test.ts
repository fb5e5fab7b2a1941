/**
 * Argo CD's API server at a hostname: sessions by cookie, REST, event streams and gRPC-Web, all from a
 * page of its own origin. It needs a Kubernetes (see `tests/e2e/environment.ts`).
 */
import { deepEqual, equal, match } from "node:assert/strict";
import type { Browser } from "puppeteer-core";
import { type Argocd, hasCluster, startArgocd } from "./argocd.ts";
import { WatchedPage } from "./browser.ts";
import { sites, withSite } from "./site.ts";

if (!hasCluster) console.error("SKIPPED: Argo CD's test needs a Kubernetes, as test:e2e does");

/** Types a password into the page's form and sends it. */
async function signIn({ page }: WatchedPage, password: string): Promise<void> {
  await page.locator("input[name=password]").fill(password);
  await page.locator("button").click();
}

/** Sends JSON from the page; the status of the answer. */
async function send(
  { page }: WatchedPage,
  method: string,
  path: string,
  value?: object,
): Promise<number> {
  return await page.evaluate(
    async (method, path, body) => {
      const headers = { "Content-Type": "application/json" };
      const answer = await fetch(path, { method, headers, ...body !== null && { body } });
      await answer.arrayBuffer();
      return answer.status;
    },
    method,
    path,
    value === undefined ? null : JSON.stringify(value),
  );
}

function application(name: string, stage: string) {
  return {
    metadata: { name, labels: { stage } },
    spec: {
      project: "default",
      source: { repoURL: "https://example.com/app.git", path: "app", targetRevision: "main" },
      destination: { namespace: "app", server: "https://kubernetes.default.svc" },
    },
  };
}

/** The list that the page keeps changes as the server's event stream says. */
async function testEvents(page: WatchedPage, name: string): Promise<void> {
  const applications = "/api/v1/applications";
  equal(await send(page, "POST", `${applications}?validate=false`, application(name, "new")), 200);
  await page.shows(`${name} ADDED new`);
  const changed = application(name, "changed");
  equal(await send(page, "PUT", `${applications}/${name}?validate=false`, changed), 200);
  await page.shows(`${name} MODIFIED changed`);
  equal(await send(page, "DELETE", `${applications}/${name}?cascade=false`), 200);
  await page.page.waitForFunction(`!document.body.innerText.includes(${JSON.stringify(name)})`);
}

/**
 * One call of gRPC-Web from the page, which takes no cookie.
 *
 * @param frames how many it waits for; a stream has no end of its own
 * @returns the kinds of its frames, and their bytes as text
 */
async function call(
  { page }: WatchedPage,
  path: string,
  frames: number,
  token = "",
): Promise<{ status: number; kinds: number[]; text: string }> {
  return await page.evaluate(
    async (path, frames, token) => {
      const leaving = new AbortController();
      const answer = await fetch(path, {
        method: "POST",
        headers: {
          "Content-Type": "application/grpc-web+proto",
          "X-Grpc-Web": "1",
          Authorization: `Bearer ${token}`,
        },
        body: new Uint8Array(5), // One message without a field.
        signal: leaving.signal,
      });
      let bytes: number[] = [];
      let text = "";
      const kinds = [];
      const reader = answer.body!.getReader();
      while (kinds.length < frames) {
        const { value, done } = await reader.read();
        if (done) break;
        bytes = [...bytes, ...value];
        while (bytes.length >= 5) {
          const length = new DataView(Uint8Array.from(bytes).buffer).getUint32(1);
          if (bytes.length < 5 + length) break;
          kinds.push(bytes[0]!);
          text += String.fromCharCode(...bytes.slice(5, 5 + length));
          bytes = bytes.slice(5 + length);
        }
      }
      leaving.abort();
      const said = answer.headers.get("grpc-message") ?? "";
      return { status: answer.status, kinds, text: `${text}${said}` };
    },
    path,
    frames,
    token,
  );
}

/** A token of the API, as programs get it. */
async function tokenOf({ page }: WatchedPage, password: string): Promise<string> {
  return await page.evaluate(async (password) => {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ username: "admin", password });
    return (await (await fetch("/api/v1/session", { method: "POST", headers, body })).json()).token;
  }, password);
}

async function testArgocd(
  browser: Browser,
  origin: string,
  { password }: Argocd,
  protocol: string,
): Promise<void> {
  const name = `app-${protocol.replace(/\W/g, "")}`;
  await using page = await WatchedPage.open(browser, `${origin}/api.html`);
  equal(await send(page, "GET", "/api/v1/applications"), 401);
  await signIn(page, "not the password");
  await page.shows("refused: 401");
  await signIn(page, password);
  await page.shows("signed in as admin");
  const cookies = (await browser.cookies()).filter(({ name }) => name === "argocd.token");
  deepEqual(
    cookies.map(({ domain, httpOnly, sameSite }) => ({ domain, httpOnly, sameSite })),
    [{ domain: new URL(origin).hostname, httpOnly: true, sameSite: "Lax" }],
  );
  await testEvents(page, name);
  const token = await tokenOf(page, password);
  const version = await call(page, "/version.VersionService/Version", 2);
  deepEqual([version.status, version.kinds], [200, [0, 0x80]]);
  match(version.text, /grpc-status: ?0/);
  equal(
    await send(page, "POST", "/api/v1/applications?validate=false", application(name, "x")),
    200,
  );
  const watched = await call(page, "/application.ApplicationService/Watch", 1, token);
  deepEqual([watched.status, watched.kinds], [200, [0]], watched.text);
  match(watched.text, new RegExp(name));
  equal(await send(page, "DELETE", `/api/v1/applications/${name}?cascade=false`), 200);
  // It takes the cookie back, and leads to the page of a user interface that is not there.
  await page.page.evaluate(() => fetch("/auth/logout", { redirect: "manual" }));
  equal(await send(page, "GET", "/api/v1/applications"), 401);
  deepEqual([...page.protocols], [protocol]);
}

Deno.test({
  name: "Argo CD's API server works in a browser at its hostname",
  ignore: !hasCluster,
  async fn(t) {
    await using argocd = await startArgocd();
    const addresses = { argocd: argocd.address };
    for (const { name, usesTls, protocol } of sites) {
      await withSite({ addresses, usesTls }, async ({ browser, url }) => {
        await t.step(`session, REST, events and gRPC-Web, ${name}`, () => {
          return testArgocd(browser, url("argocd"), argocd, protocol);
        });
      });
    }
  },
});
