/** Agents' tokens are replaced while requests go on: real relay, agent, operator and API server. */
import assert from "node:assert/strict";
import { secrets } from "../../../lib/kube/resources.ts";
import { eventually } from "../../support/deadline.ts";
import { namespace, OperatorWorld, patienceMs, tunnelBindings, tunnels } from "./cluster.ts";
import { kubeTest } from "./own_kube.ts";

const secretName = "main-agent-token";

/** Requests one after the other, until it is told to stop. */
class Load implements AsyncDisposable {
  answered = 0;
  readonly failures: unknown[] = [];
  readonly #over: Promise<void>;
  #isStopping = false;

  constructor(world: OperatorWorld, host: string) {
    this.#over = this.#run(world, host);
  }

  async #run(world: OperatorWorld, host: string): Promise<void> {
    while (!this.#isStopping) {
      const answer = await world.web(host);
      if (answer.status === 200) this.answered++;
      else this.failures.push(answer);
    }
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#over;
  }

  /** Ends before the cluster does: a test that fails must fail for its own reason. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopping = true;
    await Promise.allSettled([this.#over]);
  }
}

kubeTest(
  "a token that is due is replaced, and neither a request nor an agent ends",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    await using backend = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      () => new Response("here"),
    );
    await world.startOperator();
    world.startKubelet();
    await world.putTunnel({ tokenRotation: { every: "1h", overlap: "1s" } });
    await world.condition(tunnels, "main", "Ready", "Ready");
    await world.putService("web", backend.addr.port, {
      "culvert.dev/tunnel": "main",
      "culvert.dev/hostname": "web.example.com",
    });
    await world.condition(tunnelBindings, "service-web", "Ready", "Ready");
    const tokens = async () => {
      const { tokens } = JSON.parse((await world.admin("clusters/apps-main")).text);
      return (tokens as { name: string }[]).map(({ name }) => name);
    };
    const sessions = async () => {
      const { items } = JSON.parse((await world.admin("clusters/apps-main/sessions")).text);
      return (items as { tokenName: string }[]).map(({ tokenName }) => tokenName);
    };
    const [pids, uids] = [world.agentPids(), await world.podUids()];
    const [old] = await tokens();
    await using load = new Load(world, "web.example.com");
    await eventually(() => load.answered > 10, "the load to be answered", patienceMs);
    await world.client.merge(secrets, { namespace, name: secretName }, {
      metadata: { annotations: { "culvert.dev/token-since": "2020-01-01T00:00:00.000Z" } },
    });
    await eventually(
      async () => {
        const [known, used] = [await tokens(), await sessions()];
        return known.length === 1 && known[0] !== old && used.join() === known.join();
      },
      "the new token alone to be known and used",
      patienceMs,
    );
    const from = load.answered;
    await eventually(() => load.answered > from + 10, "the load to be answered", patienceMs);
    await load.stop();
    assert.deepEqual(load.failures, []);
    assert.deepEqual([world.agentPids(), await world.podUids()], [pids, uids], "the same agents");
  },
);
