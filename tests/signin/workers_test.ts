/** Sign-in at one relay of several workers: each connection may be another process's. */
import { equal, notEqual } from "node:assert/strict";
import { startWorkers } from "../programs/workers.ts";
import { eventually } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { startAgent } from "../support/programs.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { clientId, clientSecret, FakeProvider } from "./fake_provider.ts";
import { originOf, SocketBrowser } from "./programs.ts";

const token = "signin-agent-token-0123456789";
const ann = { sub: "ann-1", email: "ann@example.com", email_verified: true };

Deno.test({
  name: "People sign in through several workers, and a session that ends has ended at all of them",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using target = await startRawTarget(
      answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    );
    await using stack = new AsyncDisposableStack();
    const { provider } = stack.use(await FakeProvider.listen());
    provider.account = ann;
    const port = freePort();
    const services = {
      login: { host: `login.localhost:${port}` },
      providers: [
        { name: "corp", kind: "oidc", issuer: provider.issuer, clientId, clientSecret },
      ],
      policies: [{ name: "staff", any: [{ emailDomain: "example.com" }] }],
      services: [{
        ...{ name: "app", hostnames: [`app.localhost:${port}`], cluster: "dev" },
        ...{ target: target.address, policy: "staff" },
      }],
    };
    await using relay = await startWorkers(3, {
      clusters: [{ id: "dev", token, targetAddr: target.address }],
      args: ["--services", JSON.stringify(services), "--web-addr", `127.0.0.1:${port}`],
    });
    await using _agent = await startAgent({
      relayUrl: relay.connectUrl,
      token,
      target: target.address,
    });
    await relay.waitForAgent("dev");
    const app = originOf({ port }, "app");
    const browser = new SocketBrowser();
    const signedIn = async () => (await browser.open(`${app}/`)).status === 200;
    // A worker learns a moment later than the agent that another one has its session.
    await eventually(signedIn, "the application, signed in");
    // A cookie counts at every worker, though nobody has given them keys.
    await eventually(async () => {
      for (let n = 0; n < 20; n++) {
        if ((await browser.send(`${app}/`)).status !== 200) return false;
      }
      return true;
    }, "the cookie to count at every worker");
    const thief = new SocketBrowser();
    for (const [host, jar] of browser.jars) thief.jars.set(host, new Map(jar));
    const out = await browser.send(`${app}/.culvert/logout`, {
      method: "POST",
      headers: { Origin: app, "Sec-Fetch-Site": "same-origin" },
    });
    equal(out.status < 400, true, out.text);
    for (let n = 0; n < 20; n++) notEqual((await thief.send(`${app}/`)).status, 200);
  },
});
