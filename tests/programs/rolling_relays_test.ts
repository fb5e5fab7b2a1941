/** Relays that are replaced one after the other, with one agent that has one connection. */
import { deepEqual, equal } from "node:assert/strict";
import { assertNoSecrets, CLUSTER, lastLines, secrets } from "../isolation/tunnel.ts";
import { service } from "../isolation/service.ts";
import { eventually } from "../support/deadline.ts";
import { type RunningRelay, startAgent, startRelay } from "../support/programs.ts";
import { startRawTarget } from "../support/target.ts";
import { Balancer } from "./balancer.ts";
import { Load } from "./load.ts";

const timeoutMs = 30_000;

/** Long enough for the balancers to notice, and for the agent to move, on a busy machine. */
const drainDelay = ["-drain-delay", "5s"];

Deno.test("relays that are replaced one after the other under load lose no request", async () => {
  await using target = await startRawTarget(service);
  const clusters = [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }];
  // Agents may come to a relay that has none yet, callers must not.
  await using agents = await Balancer.start({ failures: 1 });
  await using callers = await Balancer.start({ failures: 30 });
  const startOne = async (): Promise<RunningRelay> => {
    const relay = await startRelay({ clusters, args: drainDelay });
    const probe = `http://${relay.internalAddress}/readyz`;
    agents.add({ address: relay.publicAddress, probeUrl: `${probe}?exclude=agents` });
    callers.add({ address: relay.internalAddress, probeUrl: probe });
    return relay;
  };
  let old = await startOne();
  await eventually(() => agents.ready.length === 1, "a relay to be ready for agents");
  await using agent = await startAgent({
    relayUrl: `ws://${agents.address}/connect`,
    token: secrets.token,
    target: target.address,
    credential: secrets.credential,
  });
  await eventually(() => callers.ready.length === 1, "a relay to be ready for callers");
  const load = new Load(callers.address);
  try {
    for (let replaced = 0; replaced < 2; replaced++) {
      const successor = await startOne();
      const from = load.answered;
      await eventually(() => load.answered > from + 50, "the load to be answered", timeoutMs);
      equal(await old.stop(), 0);
      deepEqual(callers.ready.map(({ address }) => address), [successor.internalAddress]);
      const after = load.answered;
      await eventually(() => load.answered > after + 50, "the load to be answered", timeoutMs);
      await assertNoSecrets(old);
      old = successor;
    }
    deepEqual(await load.stop(), []);
    equal(await agent.stop(), 0);
    equal(await old.stop(), 0);
  } catch (error) {
    console.error(lastLines(old.program), lastLines(agent.program));
    throw error;
  }
});
