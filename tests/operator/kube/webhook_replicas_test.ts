/** The webhook's certificates with several replicas behind one address, while pods are created. */
import assert from "node:assert/strict";
import { delay } from "../../../lib/kube/delay.ts";
import { KubeError } from "../../../lib/kube/errors.ts";
import type { KubeClient } from "../../../lib/kube/client.ts";
import { leases, secrets } from "../../../lib/kube/resources.ts";
import { Balancer } from "../../programs/balancer.ts";
import { eventually } from "../../support/deadline.ts";
import { addressOf, type Program } from "../../support/programs.ts";
import { type OperatorWorld, patienceMs } from "./cluster.ts";
import { create, namesOf, pod } from "./injected_pods.ts";
import { type InjectionWorld, webhookSecret, withInjection } from "./injection_world.ts";
import { kubeTest } from "./own_kube.ts";

/** A look at the certificates each 5 s, and half a minute before one that is not renewed expires. */
const lifetimes = ["--webhook-cert-lifetime", "100s", "--webhook-ca-lifetime", "1h"];

/** Between two pods of one creator: the load must not take the time that renewals need. */
const pauseMs = 25;
/** The API server waits 5 s for a review. A busy machine may need longer, whatever certificate is shown. */
const isSlow = /context deadline exceeded|Client\.Timeout/;

/** Creates pods, and keeps what the API server says of those that it refuses. */
class PodLoad implements AsyncDisposable {
  readonly refusals: string[] = [];
  created = 0;
  readonly #creators: readonly Promise<void>[];
  #isOver = false;

  constructor(client: KubeClient) {
    this.#creators = ["a", "b", "c", "d"].map((name) => this.#create(client, name));
  }

  async #create(client: KubeClient, name: string): Promise<void> {
    for (let count = 0; !this.#isOver; count++) {
      try {
        const created = await create(client, pod(`load-${name}-${count}`));
        assert.equal(namesOf(created), "culvert-agent");
        this.created++;
      } catch (error) {
        if (!(error instanceof KubeError)) throw error;
        if (!isSlow.test(error.message)) this.refusals.push(error.message);
      }
      await delay(pauseMs);
    }
  }

  /** Waits for some more pods: those that were under way before do not count. */
  async more(): Promise<void> {
    const before = this.created + this.#creators.length;
    await eventually(() => this.created > before, "more pods", patienceMs);
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#creators);
  }

  /** Ends before the cluster does: a test that fails must fail for its own reason. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await Promise.allSettled(this.#creators);
  }
}

/** Operators behind a balancer that goes by their readiness, as a Service does. */
class Replicas {
  readonly #injection: InjectionWorld;
  readonly #balancer: Balancer;

  constructor(injection: InjectionWorld, balancer: Balancer) {
    this.#injection = injection;
    this.#balancer = balancer;
  }

  async add(program: Program): Promise<void> {
    const probeUrl = `http://${await addressOf(program, "health")}/readyz`;
    this.#balancer.add({ address: await addressOf(program, "webhook"), probeUrl });
  }

  async start(): Promise<Program> {
    const program = await this.#injection.startReplica();
    await this.add(program);
    return program;
  }

  async ready(count: number): Promise<void> {
    const what = () => `${count} ready replicas; there are ${this.#balancer.ready.length}`;
    await eventually(() => this.#balancer.ready.length === count, what, patienceMs);
  }
}

/** Has CA and certificate renewed as far as the new CA. @returns the keys before that */
async function untilSecondCa(injection: InjectionWorld): ReturnType<InjectionWorld["keys"]> {
  const before = await injection.keys();
  await injection.makeDue();
  const hasTwo = async () => (await injection.keys()).trusted.length > 1;
  await eventually(hasTwo, "a second CA", patienceMs);
  return before;
}

async function leaderOf(
  { client }: OperatorWorld,
  programs: readonly Program[],
): Promise<Program> {
  const lease = await client.get(leases, { namespace: "culvert", name: "culvert-operator" });
  const { holderIdentity } = lease["spec"] as { holderIdentity: string };
  for (const program of programs) {
    const lines = program.logText();
    if (lines.includes(holderIdentity)) return program;
  }
  throw new Error(`nobody is ${holderIdentity}`);
}

kubeTest(
  "three replicas renew CA and certificate, and are replaced, without a failed admission",
  async (kube) => {
    await using balancer = await Balancer.start({ failures: 1 });
    const port = Number(balancer.address.split(":").at(-1));
    await withInjection(kube, async (injection, world) => {
      const replicas = new Replicas(injection, balancer);
      const first = world.operator!;
      await replicas.add(first);
      await replicas.ready(1);
      await using load = new PodLoad(world.client);
      const second = await replicas.start();
      const third = await replicas.start();
      await replicas.ready(3);
      await load.more();

      let before = await injection.keys();
      await injection.makeDue();
      await injection.renewed(before);
      await load.more();
      assert.deepEqual(load.refusals, [], "while all are renewed");

      before = await injection.keys();
      await world.client.delete(
        secrets,
        webhookSecret,
        (await world.client.get(secrets, webhookSecret)).metadata.uid!,
      );
      await injection.renewed(before);
      await load.more();
      assert.deepEqual(load.refusals, [], "after the Secret was deleted");

      // The leader ends in good order between the new CA and the new certificate.
      before = await untilSecondCa(injection);
      const leader = await leaderOf(world, [first, second, third]);
      await leader.stop();
      await replicas.ready(2);
      await injection.renewed(before);
      await load.more();
      assert.deepEqual(load.refusals, [], "while the leader was replaced");

      // The next one is killed there: reviews that it had are lost, and no certificate is refused.
      before = await untilSecondCa(injection);
      const others = [first, second, third].filter((it) => it !== leader);
      await (await leaderOf(world, others)).kill();
      await replicas.ready(1);
      await injection.renewed(before);
      await load.more();
      await load.stop();
      for (const refusal of load.refusals) {
        assert.match(refusal, /failed calling webhook/);
        assert.doesNotMatch(refusal, /x509|certificate|tls:/);
      }
    }, { port, isBalanced: true, args: lifetimes });
  },
);
