/** A cluster whose API server calls the operator's webhook, and one or more operators. */
import { mutatingWebhooks, secrets } from "../../../lib/kube/resources.ts";
import { certificatesIn } from "../../../lib/operator/injection/authority.ts";
import {
  readKeys,
  trustedBy,
  type WebhookKeys,
} from "../../../lib/operator/injection/webhook_secret.ts";
import { eventually } from "../../support/deadline.ts";
import { freePort } from "../../support/free_port.ts";
import { addressOf, type Program } from "../../support/programs.ts";
import { OperatorWorld, patienceMs } from "./cluster.ts";
import type { OwnKube } from "./own_kube.ts";

const configuration = { name: "culvert-operator" };
export const webhookSecret = { namespace: "culvert", name: "culvert-operator-webhook" };

/** Where the API server and the operator find each other, and the operator's further options. */
export interface InjectionSettings {
  /** Of this machine, at which the API server calls the webhook; a free one unless given. */
  readonly port?: number;
  /** Whether something else listens there, and hands connections to the operators. */
  readonly isBalanced?: boolean;
  readonly args?: readonly string[];
}

/** A cluster whose API server calls the webhook at a port of this machine. */
export class InjectionWorld {
  readonly world: OperatorWorld;
  readonly #values: readonly string[];
  readonly #args: readonly string[];

  private constructor(
    world: OperatorWorld,
    { port = freePort(), isBalanced = false, args = [] }: InjectionSettings,
  ) {
    this.world = world;
    const url = `https://127.0.0.1:${port}/mutate-pods`;
    this.#values = ["--set", `injection.mode=webhook,injection.url=${url}`];
    const address = `127.0.0.1:${isBalanced ? 0 : port}`;
    this.#args = ["--injection", "webhook", "--webhook-addr", address, ...args];
  }

  static async start(
    world: OperatorWorld,
    settings: InjectionSettings = {},
  ): Promise<InjectionWorld> {
    const injection = new InjectionWorld(world, settings);
    const rendered = await world.helm("culvert-operator", injection.#values);
    const webhook = rendered.split(/^---$/m).filter((text) =>
      text.includes("kind: MutatingWebhookConfiguration")
    );
    await world.apply(webhook.join("---\n"));
    await injection.startOperator();
    await world.putTunnel();
    return injection;
  }

  async startOperator(): Promise<void> {
    const operator = await this.world.startOperator(this.#values, this.#args);
    await this.ready(operator);
  }

  /** One more replica, which is ready. */
  async startReplica(): Promise<Program> {
    const operator = await this.world.anotherOperator(this.#args);
    await this.ready(operator);
    return operator;
  }

  /** Waits until an operator says that it is ready. */
  async ready(operator = this.world.operator!): Promise<void> {
    const address = await addressOf(operator, "health");
    let last = "";
    await eventually(
      async () => {
        const response = await fetch(`http://${address}/readyz`);
        last = await response.text();
        return response.ok;
      },
      () => `the operator to be ready: ${last}\n${operator.logText()}`,
      patienceMs,
    );
  }

  async keys(): Promise<WebhookKeys> {
    return readKeys(await this.world.client.find(secrets, webhookSecret));
  }

  /** As if a renewal were due: what signs is gone, and what it has signed is in use. */
  async makeDue(): Promise<void> {
    const data = { "ca.crt": null, "ca.key": null };
    await this.world.client.merge(secrets, webhookSecret, { data });
  }

  /** Waits until all of an older CA is gone. */
  async renewed(before: WebhookKeys): Promise<void> {
    const { client, operator } = this.world;
    let last = "";
    const isRenewed = async () => {
      const { ca, leaf, trusted } = await this.keys();
      const current = trustedBy(await client.get(mutatingWebhooks, configuration));
      last = `${trusted.length} in the Secret, ${current.length} in the caBundle`;
      return ca !== undefined && ca.cert !== before.ca?.cert && leaf !== undefined &&
        leaf.cert !== before.leaf?.cert && trusted.join() === ca.cert &&
        current.join() === certificatesIn(ca.cert).join();
    };
    await eventually(isRenewed, () => `a renewal: ${last}\n${operator?.logText()}`, patienceMs);
  }
}

/** Runs a test in a world of its own. */
export async function withInjection(
  kube: OwnKube,
  test: (injection: InjectionWorld, world: OperatorWorld) => Promise<void>,
  settings: InjectionSettings = {},
): Promise<void> {
  await using world = await OperatorWorld.start(kube);
  await test(await InjectionWorld.start(world, settings), world);
}
