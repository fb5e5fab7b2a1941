/** A relay with a login host, services and a certified provider, and a browser before it. */
import type { Browser, Page } from "puppeteer-core";
import { clientId, clientSecret } from "../../signin/fake_provider.ts";
import { RealOidcProvider } from "../../signin/oidc_provider.ts";
import { Authority, withFolder } from "../../support/certificates.ts";
import {
  type RunningAgent,
  type RunningRelay,
  startAgent,
  startRelay,
} from "../../support/programs.ts";
import { freePort } from "../../support/free_port.ts";
import { startBrowser, WatchedPage } from "./browser.ts";

const token = "signin-browser-token-0123456789";
/** A token of the admin API. */
export const adminToken = "admin-browser-token-0123456789";
const adminTokens = JSON.stringify([
  { name: "ops", token: adminToken, clusters: ["*"], hostnames: ["*"], people: true },
]);
/** Below one registrable domain, so that the services' pages are same-site: `SameSite` stops nothing. */
export const domain = "team.localhost";
/** As long as the names in a directory are, for the page that cites it. */
export const longGroup = "cn=platform-administrators,ou=groups,ou=engineering,dc=example,dc=com";

/** The page of the services: it says where it is, and what its script has the test see. */
const pageText = `<!doctype html><title>Service</title><p id="at"></p><p id="result"></p>
<script>document.getElementById("at").textContent =
  "at " + location.pathname + location.search + " of " + location.hostname;</script>`;

/** What runs, and a browser before it. */
export interface Site {
  readonly browser: Browser;
  readonly provider: RealOidcProvider;
  readonly relay: RunningRelay;
  readonly agent: RunningAgent;
  /** The admin listener, in plain HTTP on loopback. */
  readonly adminUrl: string;
  origin(name: string): string;
  /** Opens a page whose errors are collected. */
  open(url: string): Promise<WatchedPage>;
  /** What the browser said about a Content-Security-Policy, on any page. */
  readonly policyErrors: readonly string[];
}

/** Answers with the page; at `/socket`, echoes messages. */
function answer(request: Request): Response {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname === "/away") return Response.redirect(searchParams.get("to")!);
  if (pathname !== "/socket") {
    return new Response(pageText, { headers: { "Content-Type": "text/html; charset=utf-8" } });
  }
  const { socket, response } = Deno.upgradeWebSocket(request);
  socket.onmessage = ({ data }) => socket.send(`echo ${data}`);
  return response;
}

function servicesText(port: number, issuer: string, target: string): string {
  const service = (name: string, policy: string) => ({
    ...{ name, policy, target, cluster: "dev" },
    hostnames: [`${name}.${domain}:${port}`],
  });
  const provider = { name: "corp", kind: "oidc", issuer, clientId, clientSecret };
  return JSON.stringify({
    login: { host: `login.${domain}:${port}`, provider: "corp", statusPolicy: "staff" },
    providers: [{ ...provider, scopes: ["openid", "email", "offline_access"] }],
    policies: [
      { name: "staff", any: [{ emailDomain: "example.com" }] },
      { name: "admins", any: [{ claim: "groups", value: longGroup }] },
    ],
    services: [
      ...[service("linked", "staff"), service("late", "staff")],
      ...[service("app", "staff"), service("other", "staff")],
      ...[service("closed", "admins"), service("open", "public")],
      { ...service("database", "staff"), kind: "tcp" },
    ],
  });
}

/** A folder for `--web-certs` with one certificate for all hosts. */
async function issueCertificate(folder: string): Promise<{ folder: string; certPem: string }> {
  const authority = await Authority.create(folder, "own");
  const { certPath, keyPath } = await authority.issue("team", `DNS:*.${domain}`);
  const pairs = `${folder}/web-certs`;
  await Deno.mkdir(pairs);
  await Deno.copyFile(certPath, `${pairs}/team.crt`);
  await Deno.copyFile(keyPath, `${pairs}/team.key`);
  return { folder: pairs, certPem: await Deno.readTextFile(certPath) };
}

/** Runs a test with all of it. */
export async function withSite(test: (site: Site) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    await using stack = new AsyncDisposableStack();
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, answer);
    stack.defer(() => server.shutdown());
    const target = `127.0.0.1:${server.addr.port}`;
    const port = freePort();
    const origin = (name: string) => `https://${name}.${domain}:${port}`;
    const login = `${origin("login")}/.culvert`;
    const provider = stack.use(
      await RealOidcProvider.start(`${login}/callback`, `${login}/signed-out`, {
        showsLogin: true,
      }),
    );
    const certificates = await issueCertificate(folder);
    const services = `${folder}/services.yaml`;
    await Deno.writeTextFile(services, servicesText(port, provider.issuer, target));
    const relay = stack.use(
      await startRelay({
        clusters: [{ id: "dev", token, targetAddr: target }],
        args: [
          ...["--services", services, "--web-addr", `127.0.0.1:${port}`],
          ...["--web-certs", certificates.folder],
          ...["--admin-addr", "127.0.0.1:0", "--admin-tokens", adminTokens],
        ],
      }),
    );
    await relay.waitForLog((line) => line["listener"] === "web");
    const agent = stack.use(await startAgent({ relayUrl: relay.connectUrl, token, target }));
    await relay.waitForLog(({ message }) => message === "Agent connected");
    const browser = await startBrowser([certificates.certPem]);
    stack.defer(() => browser.close());
    const policyErrors: string[] = [];
    const open = async (url: string) => {
      const page = await WatchedPage.open(browser, "about:blank");
      await collectPolicyErrors(page.page, policyErrors);
      await page.page.goto(url, { waitUntil: "domcontentloaded" });
      return page;
    };
    const admin = await relay.waitForLog((line) => line["listener"] === "admin");
    const adminUrl = `http://${admin["address"]}`;
    await test({ adminUrl, browser, provider, relay, agent, origin, open, policyErrors });
  });
}

/** Violations are entries of the browser's log, not of the page's console. */
async function collectPolicyErrors(page: Page, errors: string[]): Promise<void> {
  const session = await page.createCDPSession();
  session.on("Log.entryAdded", ({ entry: { source, text, url } }) => {
    if (source === "security" || /content security policy/i.test(text)) {
      errors.push(`${text} (${url ?? page.url()})`);
    }
  });
  await session.send("Log.enable");
}
