/** Pages of other sites, whose requests a browser sends with its user's address or certificate. */
import { equal } from "node:assert/strict";
import { errorText } from "../support/error_body.ts";
import { splitAddress } from "../support/raw_connection.ts";
import { bodyText, statusOf, type WireMessage } from "../http/wire.ts";
import { CLUSTER, requestHead, tunnelled, withTunnel } from "../http/tunnel.ts";
import { bearer, deniedCount } from "./setup.ts";
import { untilEqual } from "../support/deadline.ts";

const message = "the request comes from another site's page and has no caller token";
const foreign = "Origin: https://evil.example";
const crossSite = "Sec-Fetch-Site: cross-site";
const webSocket = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/** What a browser sends when somebody follows a link on another site's page. */
const navigation = ["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", crossSite];

Deno.test("another site's page can't have a browser change or read anything through an open relay", async (t) => {
  await withTunnel(async (tunnel) => {
    const refused: [string, string[]][] = [
      ["POST", [foreign]],
      ["DELETE", ["Origin: null"]],
      ["POST", [crossSite, "Origin: http://caller.example"]],
      ["POST", ["Sec-Fetch-Site: same-site"]],
      ["GET", [...webSocket, foreign]],
      ["GET", [...webSocket, "Origin: http://caller.example:81"]],
      ["POST", ["Origin: https://ui.example", "X-Forwarded-Host: ui.example:80"]],
      ["POST", ["Origin: https://ui.example", "X-Forwarded-Host: x@ui.example"]],
      ["POST", ["Origin: https://ui.example", "X-Forwarded-Host: ui.example/x"]],
      ["GET", [...webSocket, crossSite]],
      // What a target opens to every origin, the page could read.
      ["GET", [foreign, crossSite]],
      ["HEAD", [crossSite]],
      ["OPTIONS", [foreign]],
      ["GET", [foreign]],
      ["GET", [navigation[0]!, "Sec-Fetch-Site: same-site", "Sec-Fetch-Dest: iframe"]],
      ["POST", navigation],
      ["GET", [...webSocket, ...navigation]],
      ["GET", ["Sec-Fetch-Site: made-up"]],
      ["GET", ["Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: document", crossSite]],
    ];
    for (const [index, [method, fields]] of refused.entries()) {
      await t.step(`refused: ${method} ${fields.at(-1)}`, async () => {
        const answer = await tunnel.ask(requestHead(method, tunnelled("/refused"), fields));
        equal(statusOf(answer), 403);
        const body = method === "HEAD" ? "" : errorText(403, "cross_site", message);
        equal(bodyText(answer), body);
        await untilEqual(() => deniedCount(tunnel, "cross_site"), index + 1);
      });
    }
    await t.step("refused: a page whose Host has the other scheme's default port", async () => {
      const request = requestHead("POST", tunnelled("/x"), ["Origin: https://caller.example"]);
      const host = (port: number) =>
        request.replace("caller.example\r", `caller.example:${port}\r`);
      equal(statusOf(await tunnel.ask(host(80))), 403);
      equal(bodyText(await tunnel.ask(host(443))), "POST /x", "the default port is none");
    });
    const served: [string, string[]][] = [
      ["POST", []],
      ["GET", navigation],
      ["GET", [...navigation.slice(0, 2), "Sec-Fetch-Site: same-site"]],
      ["GET", ["Sec-Fetch-Mode: cors"]],
      ["POST", ["Origin: http://caller.example", "Content-Length: 0"]],
      ["POST", ["Sec-Fetch-Site: same-origin", foreign]],
      ["POST", ["Sec-Fetch-Site: none"]],
      ["POST", ["Origin: https://ui.example", "X-Forwarded-Host: ui.example"]],
      ["GET", [...webSocket, "Origin: http://caller.example"]],
      ["POST", ["Origin: https://ui.example", "X-Forwarded-Host: UI.example:443"]],
      ["POST", ["Origin: http://ui.example", "X-Forwarded-Host: ui.example:80"]],
      ["POST", ["Origin: http://ui.example", "X-Forwarded-Host: ui.example:"]],
      ["POST", ["Origin: http://caller.example:80", "Content-Length: 0"]],
    ];
    for (const [method, fields] of served) {
      await t.step(`served: ${method} ${fields.at(-1) ?? "without a browser"}`, async () => {
        const answer = await tunnel.ask(requestHead(method, tunnelled("/served"), fields));
        equal(bodyText(answer), `${method} /served`);
      });
    }
  });
});

Deno.test("a caller with a token of its own may come from any site's page", async () => {
  const token = "token-that-no-browser-adds";
  const relayArgs = [
    "-caller-tokens",
    JSON.stringify([{ name: "page", token, clusters: [CLUSTER] }]),
  ];
  await withTunnel(async (tunnel) => {
    const request = requestHead("POST", tunnelled("/x"), [foreign, bearer(token)]);
    equal(bodyText(await tunnel.ask(request)), "POST /x");
  }, { relayArgs });
});

Deno.test("an open relay on loopback answers to its own names alone, whatever a page's name means", async (t) => {
  await withTunnel(async (tunnel) => {
    const ask = async (host: string): Promise<WireMessage> =>
      await tunnel.ask(
        requestHead("GET", tunnelled("/x")).replace(/Host: [^\r]*/, `Host: ${host}`),
      );
    const { port } = splitAddress(tunnel.relay.internalAddress);
    for (
      const host of ["evil.example", `evil.example:${port}`, "localhost.evil.example", "1.2.3.4.x"]
    ) {
      await t.step(`refused: ${host}`, async () => {
        const answer = await ask(host);
        equal(statusOf(answer), 421);
        const told = "the relay does not accept this host: --hosts lists its names";
        equal(bodyText(answer), errorText(421, "other_host", told));
      });
    }
    await untilEqual(() => deniedCount(tunnel, "host"), 4);
    const own = [
      "localhost",
      "x.localhost:80",
      "127.0.0.1",
      `127.0.0.1:${port}`,
      `[::1]:${port}`,
      "",
    ];
    for (const host of own) {
      await t.step(`served: ${host}`, async () => equal(bodyText(await ask(host)), "GET /x"));
    }
    await t.step("the metrics neither", async () => {
      const request = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
      equal(statusOf(await tunnel.ask(request)), 421);
    });
  }, { relayArgs: ["-hosts", "localhost"] });
});
