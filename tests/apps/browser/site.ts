/** A relay's web listener in a browser, and one agent with a target for each application. */
import type { Browser } from "puppeteer-core";
import { Authority, withFolder } from "../../support/certificates.ts";
import { startAgent, startRelay } from "../../support/programs.ts";
import { startBrowser } from "./browser.ts";

const token = "apps-token-0123456789abcdef";

/** Applications by name, and where each listens. */
export type Addresses = Readonly<Record<string, string>>;

/** What the relay publishes at `NAME.localhost`. */
export interface SiteOptions {
  readonly addresses: Addresses;
  /** Keys that entries of services have besides the usual ones, by name. */
  readonly services?: Readonly<Record<string, object>>;
  readonly usesTls: boolean;
}

/** A relay's web listener in a browser. */
export interface Site {
  readonly browser: Browser;
  /** The origin of an application. */
  url(name: string): string;
}

/** How browsers reach a web listener; each test of an application runs with all of them. */
export const sites = [
  { name: "over HTTP", usesTls: false, protocol: "http/1.1" },
  { name: "over HTTPS and HTTP/2", usesTls: true, protocol: "h2" },
] as const;

/** Runs `test` with a relay, one agent that has a target for each application, and a browser. */
export async function withSite(
  options: SiteOptions,
  test: (site: Site) => Promise<void>,
): Promise<void> {
  const { addresses, usesTls } = options;
  await withFolder(async (folder) => {
    await using stack = new AsyncDisposableStack();
    const targets = Object.entries(addresses).map(([name, address]) => ({ name, address }));
    await Deno.writeTextFile(`${folder}/targets.yaml`, JSON.stringify({ targets }));
    const certificates = usesTls
      ? await issueCertificate(folder, Object.keys(addresses))
      : undefined;
    const relay = stack.use(
      await startRelay({
        clusters: [{ id: "apps", token, targetAddr: Object.values(addresses)[0]! }],
        args: [
          ...["--services", servicesText(options), "--web-addr", "127.0.0.1:0"],
          ...certificates ? ["--web-certs", certificates.folder] : [],
        ],
      }),
    );
    stack.use(
      await startAgent({
        relayUrl: relay.connectUrl,
        token,
        args: ["--targets", `${folder}/targets.yaml`],
      }),
    );
    const web = await relay.waitForLog((line) => line["listener"] === "web");
    const port = String(web["address"]).split(":").at(-1);
    const browser = await startBrowser(certificates && [certificates.certPem]);
    stack.defer(() => browser.close());
    const scheme = usesTls ? "https" : "http";
    await test({ browser, url: (name) => `${scheme}://${name}.localhost:${port}` });
  });
}

function servicesText({ addresses, services = {} }: SiteOptions): string {
  const entries = Object.keys(addresses).map((name) => ({
    name,
    hostnames: [`${name}.localhost`],
    cluster: "apps",
    target: name,
    policy: "public",
    ...services[name],
  }));
  return JSON.stringify({ services: entries });
}

/** A folder for `--web-certs` with one certificate for all hostnames. */
async function issueCertificate(
  folder: string,
  names: readonly string[],
): Promise<{ folder: string; certPem: string }> {
  const authority = await Authority.create(folder, "own");
  const hostnames = names.map((name) => `DNS:${name}.localhost`);
  const { certPath, keyPath } = await authority.issue("apps", hostnames.join(","));
  const pairs = `${folder}/web-certs`;
  await Deno.mkdir(pairs);
  await Deno.copyFile(certPath, `${pairs}/apps.crt`);
  await Deno.copyFile(keyPath, `${pairs}/apps.key`);
  return { folder: pairs, certPem: await Deno.readTextFile(certPath) };
}
