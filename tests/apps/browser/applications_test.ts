/**
 * Real applications in a real browser, each at a hostname, through a relay and one agent that has a
 * target for each.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { Browser } from "puppeteer-core";
import { withFolder } from "../../support/certificates.ts";
import { startCockpit, startJupyter, startNodeRed, startPrometheus } from "./apps.ts";
import { WatchedPage } from "./browser.ts";
import { type Addresses, sites, withSite } from "./site.ts";

const jupyterToken = "jupyter-token-0123456789";

/** Runs `test` with the applications. */
async function withApps(test: (addresses: Addresses) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    await using stack = new AsyncDisposableStack();
    const folderOf = async (name: string) => {
      await Deno.mkdir(`${folder}/${name}`);
      return `${folder}/${name}`;
    };
    const prometheus = stack.use(await startPrometheus(await folderOf("prometheus")));
    const jupyter = stack.use(await startJupyter(await folderOf("jupyter"), jupyterToken));
    const nodeRed = stack.use(await startNodeRed(await folderOf("node-red")));
    const cockpit = stack.use(await startCockpit(await folderOf("cockpit"), "http"));
    const secureCockpit = stack.use(await startCockpit(await folderOf("secure"), "https"));
    await test({
      prometheus: prometheus.address,
      jupyter: jupyter.address,
      "node-red": nodeRed.address,
      "cockpit-http": cockpit.address,
      "cockpit-https": secureCockpit.address,
    });
  });
}

/** Prometheus evaluates what its page asks. */
async function testPrometheus(browser: Browser, origin: string, protocol: string): Promise<void> {
  await using page = await WatchedPage.open(browser, `${origin}/`);
  match(page.page.url(), /\/(?:classic\/)?graph$/);
  await page.page.goto(`${page.page.url()}?g0.expr=up%7Bjob%3D%22itself%22%7D&g0.tab=1`);
  await page.shows('job="itself"');
  await page.page.goto(`${page.page.url().split("/graph")[0]}/targets`);
  await page.shows("UP");
  deepEqual(page.failures.filter((failure) => !failure.endsWith("/favicon.ico")), []);
  deepEqual([...page.protocols], [protocol]);
}

/** A terminal is made with the XSRF cookie, and its shell is on the other side of a WebSocket. */
async function testJupyter(browser: Browser, origin: string): Promise<void> {
  // In a workspace of its own there are no terminals that were left open.
  const workspace = `/lab/workspaces/${new URL(origin).protocol.replace(":", "")}`;
  const url = `${origin}${workspace}?token=${jupyterToken}`;
  await using page = await WatchedPage.open(browser, url);
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

/** Cockpit checks `Origin`, and its terminal is on the other side of a WebSocket. */
async function testCockpit(browser: Browser, origin: string): Promise<void> {
  const url = `${origin}/cockpit/@localhost/system/terminal.html`;
  await using page = await WatchedPage.open(browser, url);
  await page.click("#terminal .xterm-screen, .terminal .xterm-screen, .xterm-screen");
  await page.page.keyboard.type("echo carried-$((6 * 7))\n");
  await page.receives("carried-42");
  const sockets = page.sockets.map((socket) => new URL(socket));
  deepEqual([...new Set(sockets.map(({ host }) => host))], [new URL(origin).host]);
  ok(sockets.every(({ pathname }) => pathname.endsWith("/socket")), page.sockets.join());
}

Deno.test("applications work in a browser at their hostnames, all behind one agent", async (t) => {
  await withApps(async (addresses) => {
    // It takes requests for its own address alone.
    const services = { jupyter: { host: "target" } };
    for (const { name, usesTls, protocol } of sites) {
      await withSite({ addresses, services, usesTls }, async ({ browser, url }) => {
        await t.step(`Prometheus shows what it measures, ${name}`, () => {
          return testPrometheus(browser, url("prometheus"), protocol);
        });
        await t.step(`a shell answers in JupyterLab's terminal, ${name}`, () => {
          return testJupyter(browser, url("jupyter"));
        });
        await t.step(`Node-RED's editor shows the messages of a flow, ${name}`, () => {
          return testNodeRed(browser, url("node-red"));
        });
        await t.step(`a shell answers in Cockpit's terminal, ${name}`, () => {
          return testCockpit(browser, url(`cockpit-${usesTls ? "https" : "http"}`));
        });
      });
    }
  });
});
