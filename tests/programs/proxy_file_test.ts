/** The agent's proxy in a file that changes while it runs. */
import { deepEqual, equal, match } from "node:assert/strict";
import { askSmall, call, CLUSTER, lastLines, secrets } from "../isolation/tunnel.ts";
import { service } from "../isolation/service.ts";
import { withFolder } from "../support/certificates.ts";
import { ConnectProxy } from "../support/connect_proxy.ts";
import { type LogLine, startAgent, startRelay } from "../support/programs.ts";
import { startRawTarget } from "../support/target.ts";
import { SecretMount } from "./secret_mount.ts";

const passwords = ["first-proxy-password", "second-proxy-password"] as const;
const [first, second] = passwords;
const authorizationOf = (password: string) => `Basic ${btoa(`user:${password}`)}`;
const urlOf = ({ address }: ConnectProxy, password: string) => `http://user:${password}@${address}`;
const cut = (proxy: ConnectProxy) => () => Promise.resolve(proxy.cut());
const isConnected = ({ message }: LogLine) => message === "Connected to relay";
const isReload = ({ message, source }: LogLine) =>
  message === "Configuration reloaded" && source === "proxy";
const isRefusal = ({ message = "" }: LogLine) =>
  message.startsWith("Refused a changed configuration");

Deno.test("a new proxy in the agent's file counts from the next connection on, and is logged without its password", async () => {
  await withFolder(async (folder) => {
    await using target = await startRawTarget(service);
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
    });
    const upstream = relay.publicAddress;
    await using one = await ConnectProxy.start({ upstream, authorization: authorizationOf(first) });
    await using two = await ConnectProxy.start({
      upstream,
      authorization: authorizationOf(second),
    });
    const mount = await SecretMount.create(`${folder}/proxy`, { proxy: `${urlOf(one, first)}\n` });
    await using agent = await startAgent({
      relayUrl: relay.connectUrl,
      token: secrets.token,
      target: target.address,
      credential: secrets.credential,
      args: ["--proxy-file", mount.path("proxy"), "--log-level", "debug"],
    });
    try {
      await relay.waitForAgent(CLUSTER);
      await using long = await call(relay, "GET", "/silent");
      const change = (proxy: string) => () => mount.update({ proxy });
      const reload = await agent.logAfter(change(urlOf(two, second)), isReload);
      equal(reload.proxy, `http://${two.address}`);
      const bad = `socks5://user:${second}@${two.address}`;
      const refusal = await agent.logAfter(change(bad), isRefusal);
      match(String(refusal.reason), /^Proxy file ".*": what was read must not be a SOCKS proxy/);
      // The session through the first proxy goes on, with what is open.
      await askSmall(relay);
      equal(long.isClosed, false);
      deepEqual([one.heads.length, two.heads.length], [1, 0]);
      await agent.logAfter(cut(one), isConnected);
      await askSmall(relay);
      deepEqual([one.heads.length, two.heads.length], [1, 1]);
      const direct = await agent.logAfter(change("none\n"), isReload);
      equal(direct.proxy, "none");
      await agent.logAfter(cut(two), isConnected);
      await askSmall(relay);
      deepEqual([one.heads.length, two.heads.length], [1, 1]);
    } catch (error) {
      console.error(lastLines(agent.program));
      throw error;
    }
    const log = JSON.stringify(await agent.completeLog());
    for (const password of passwords) {
      for (const text of [password, authorizationOf(password)]) equal(log.includes(text), false);
    }
  });
});
