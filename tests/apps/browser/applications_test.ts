/**
 * Real applications in a real browser, each at a hostname, through a relay and one agent that has a
 * target for each.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { Browser } from "puppeteer-core";
import { withFolder } from "../../support/certificates.ts";
import { startAgent, startRelay } from "../../support/programs.ts";
import type { App } from "./app.ts";
import { startJupyter, startNodeRed, startPrometheus } from "./apps.ts";
import { startBrowser, WatchedPage } from "./browser.ts";

const token = "apps-token-0123456789abcdef";
const jupyterToken = "jupyter-token-0123456789";

/** What the relay publishes; JupyterLab takes requests for its own address alone. */
const services = [
  { name: "prometheus", host: "public" },
  { name: "jupyter", host: "target" },
  { name: "node-red", host: "public" },
].map((service) => ({
  ...service,
  hostnames: [`${service.name}.localhost`],
  cluster: "apps",
  target: service.name,
  policy: "public",
}));

/** Runs `test` with the applications behind a relay. */
async function withApps(
  test: (browser: Browser, url: (name: string) => string) => Promise<void>,
): Promise<void> {
  await withFolder(async (folder) => {
    await using stack = new AsyncDisposableStack();
    const folderOf = async (name: string) => {
      await Deno.mkdir(`${folder}/${name}`);
      return `${folder}/${name}`;
    };
    const apps: Record<string, App> = {
      prometheus: stack.use(await startPrometheus(await folderOf("prometheus"))),
      jupyter: stack.use(await startJupyter(await folderOf("jupyter"), jupyterToken)),
      "node-red": stack.use(await startNodeRed(await folderOf("node-red"))),
    };
    const targets = Object.entries(apps).map(([name, { address }]) => ({ name, address }));
    await Deno.writeTextFile(`${folder}/targets.yaml`, JSON.stringify({ targets }));
    const relay = stack.use(
      await startRelay({
        clusters: [{ id: "apps", token, targetAddr: apps["prometheus"]!.address }],
        args: ["--services", JSON.stringify({ services }), "--web-addr", "127.0.0.1:0"],
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
    const browser = await startBrowser();
    stack.defer(() => browser.close());
    await test(browser, (name) => `http://${name}.localhost:${port}`);
  });
}

/** Prometheus evaluates what its page asks. */
async function testPrometheus(browser: Browser, origin: string): Promise<void> {
  await using page = await WatchedPage.open(browser, `${origin}/`);
  match(page.page.url(), /\/(?:classic\/)?graph$/);
  await page.page.goto(`${page.page.url()}?g0.expr=up%7Bjob%3D%22itself%22%7D&g0.tab=1`);
  await page.shows('job="itself"');
  await page.page.goto(`${page.page.url().split("/graph")[0]}/targets`);
  await page.shows("UP");
  deepEqual(page.failures.filter((failure) => !failure.endsWith("/favicon.ico")), []);
}

/** A terminal is made with the XSRF cookie, and its shell is on the other side of a WebSocket. */
async function testJupyter(browser: Browser, origin: string): Promise<void> {
  await using page = await WatchedPage.open(browser, `${origin}/lab?token=${jupyterToken}`);
  await page.click('.jp-LauncherCard[title="Start a new terminal session"]');
  await page.click(".jp-Terminal .xterm-screen");
  await page.page.keyboard.type("echo carried-$((6 * 7))\n");
  await page.receives("carried-42");
  const socket = page.sockets.find((url) => url.includes("/terminals/websocket/"));
  equal(socket?.replace(/\/terminals.*/, ""), origin.replace("http", "ws"));
  const cookies = await browser.cookies();
  const ofJupyter = cookies.filter(({ domain }) => domain === new URL(origin).hostname);
  ok(ofJupyter.some(({ name }) => name === "_xsrf"), JSON.stringify(cookies));
}

/** A flow that is deployed sends messages to the editor, over a WebSocket. */
async function testNodeRed(browser: Browser, origin: string): Promise<void> {
  await using page = await WatchedPage.open(browser, `${origin}/`);
  await page.shows("Deploy");
  const flow = [
    { id: "f1", type: "tab", label: "Carried" },
    {
      ...{ id: "n1", z: "f1", type: "inject", x: 100, y: 100, repeat: "1", wires: [["n2"]] },
      ...{ payload: "carried by culvert", payloadType: "str", props: [{ p: "payload" }] },
    },
    {
      ...{ id: "n2", z: "f1", type: "debug", x: 300, y: 100, wires: [], active: true },
      ...{ tosidebar: true, complete: "payload", targetType: "msg" },
    },
  ];
  const status = await page.page.evaluate(async (flow) => {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify(flow);
    return (await fetch("/flows", { method: "POST", headers, body })).status;
  }, flow);
  equal(status, 204);
  // The editor that sent it would have known the flow; this one has to read it.
  await page.page.reload();
  await page.click("#red-ui-tab-debug-link-button");
  await page.shows("carried by culvert");
  await page.receives("carried by culvert");
  ok(page.sockets.some((url) => new URL(url).pathname === "/comms"), page.sockets.join());
  deepEqual(page.failures, []);
}

Deno.test("applications work in a browser at their hostnames, all behind one agent", async (t) => {
  await withApps(async (browser, url) => {
    await t.step("Prometheus shows what it measures", () => {
      return testPrometheus(browser, url("prometheus"));
    });
    await t.step("a shell answers in JupyterLab's terminal", () => {
      return testJupyter(browser, url("jupyter"));
    });
    await t.step("Node-RED's editor shows the messages of a flow", () => {
      return testNodeRed(browser, url("node-red"));
    });
  });
});
