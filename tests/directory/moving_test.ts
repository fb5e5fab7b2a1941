/** A relay that has never heard of a cluster, asked for it just when its agent is on its way. */
import assert from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { startAgent } from "../support/programs.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { Balancer } from "./balancer.ts";
import { metric, startPeer, tokenOf } from "./relays.ts";

Deno.test({
  name: "a request waits for an agent that another relay has just asked to go elsewhere",
  ignore: !hasRedis,
  async fn() {
    await using target = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      () => new Response("here"),
    );
    const address = `127.0.0.1:${target.addr.port}`;
    const targets = { moved: address };
    await using redis = await Redis.start();
    await using balancer = await Balancer.start();
    await using leaving = await startPeer({ directory: redis.url, targets });
    await using fresh = await startPeer({ directory: redis.url, targets });
    balancer.upstreams = [leaving.publicAddress];
    await using agent = await startAgent({
      relayUrl: `ws://${balancer.address}/connect`,
      token: tokenOf("moved"),
      target: address,
      args: ["-max-retry", "200ms"],
    });
    await leaving.waitForAgent("moved");

    // It has nowhere to go until the request has come.
    balancer.upstreams = [];
    const stopped = leaving.stop();
    await agent.waitForLog(({ message }) => message === "The relay is draining; reconnecting");
    const answer = fetch(`${fresh.tunnelUrl("moved")}/`);
    await eventually(
      async () => await metric(fresh, "culvert_waiting_requests") === 1,
      "the request to wait",
    );
    balancer.upstreams = [fresh.publicAddress];
    const response = await within(answer, "the answer");
    assert.equal(`${response.status} ${await response.text()}`, "200 here");
    await stopped;
  },
});
