/** A cluster of three primaries, each with a replica. */
import { eventually } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { begun, infoOf, Server } from "./server.ts";

/** The last slot of each primary; as `redis-cli --cluster create` has it. */
const lastSlots = [5_460, 10_922, 16_383] as const;

/** Six nodes, whose replicas take no primary's place before they are told to. */
export class Cluster implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly primaries: Server[] = [];
  /** The replica of the primary with the same index. */
  readonly replicas: Server[] = [];

  /** @param program redis-server or one like it */
  static async start(program: string): Promise<Cluster> {
    const it = new Cluster();
    return await begun(it, () => it.#start(program));
  }

  async #start(program: string): Promise<void> {
    const busPorts = new Map<Server, number>();
    for (let index = 0; index < 6; index++) {
      const busPort = freePort();
      const args = ["--cluster-enabled", "yes", "--cluster-port", `${busPort}`];
      const times = ["--cluster-node-timeout", "2000", "--cluster-replica-no-failover", "yes"];
      // However long a replica was alone until it may take over.
      const validity = ["--cluster-replica-validity-factor", "0"];
      const node = this.#stack.use(
        await Server.start({ program, args: [...args, ...times, ...validity] }),
      );
      busPorts.set(node, busPort);
      (index < 3 ? this.primaries : this.replicas).push(node);
      await node.ask("CLUSTER", "SET-CONFIG-EPOCH", `${index + 1}`);
    }
    const [first] = this.primaries;
    for (const node of this.nodes.slice(1)) {
      await node.ask("CLUSTER", "MEET", "127.0.0.1", `${first!.port}`, `${busPorts.get(first!)}`);
    }
    for (const [index, node] of this.primaries.entries()) {
      const from = index === 0 ? 0 : lastSlots[index - 1]! + 1;
      await node.ask("CLUSTER", "ADDSLOTSRANGE", `${from}`, `${lastSlots[index]}`);
    }
    await this.#untilAll("cluster_known_nodes", "6");
    for (const [index, node] of this.replicas.entries()) {
      const id = await this.primaries[index]!.ask("CLUSTER", "MYID");
      await eventually(
        async () => await node.askOnce("CLUSTER", "REPLICATE", id) === "+OK",
        "a replica to know its primary",
      );
    }
    await this.#untilAll("cluster_state", "ok");
    await eventually(async () => {
      const infos = await Promise.all(
        this.replicas.map((node) => node.askOnce("INFO", "replication")),
      );
      return infos.every((info) => infoOf(info, "master_link_status") === "up");
    }, "the replicas to follow");
  }

  async #untilAll(name: string, value: string): Promise<void> {
    await eventually(async () => {
      const infos = await Promise.all(this.nodes.map((node) => node.askOnce("CLUSTER", "INFO")));
      return infos.every((info) => infoOf(info, name) === value);
    }, `${name} to be ${value} at all nodes`);
  }

  get nodes(): readonly Server[] {
    return [...this.primaries, ...this.replicas];
  }

  /** For `--directory`: some of the nodes. */
  get url(): string {
    return `redis+cluster://${this.primaries[1]!.address},${this.replicas[0]!.address}`;
  }

  /** The primary that has a key. */
  async primaryOf(key: string): Promise<Server> {
    const slot = await this.slotOf(key);
    return this.primaries[lastSlots.findIndex((last) => slot <= last)]!;
  }

  async slotOf(key: string): Promise<number> {
    return Number((await this.primaries[0]!.ask("CLUSTER", "KEYSLOT", key)).slice(1));
  }

  /**
   * Moves the slot of a key to another primary, key by key, as an operator does.
   *
   * @param halfway runs twice while the slot is on its way: with its keys where they were, when the
   *   node answers ASK for new ones, and with all keys where they go, when it does so for all
   */
  async move(key: string, halfway: () => Promise<void>): Promise<void> {
    const slot = `${await this.slotOf(key)}`;
    const from = await this.primaryOf(key);
    const to = this.primaries.find((node) => node !== from)!;
    const [fromId, toId] = [await from.ask("CLUSTER", "MYID"), await to.ask("CLUSTER", "MYID")];
    await to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", fromId);
    await from.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", toId);
    await halfway();
    while (true) {
      const keys = await from.ask("CLUSTER", "GETKEYSINSLOT", slot, "100");
      if (keys === "") break;
      const [host, port] = to.address.split(":");
      await from.ask("MIGRATE", host!, port!, "", "0", "5000", "KEYS", ...keys.split("\n"));
    }
    await halfway();
    for (const node of [to, from, ...this.primaries]) {
      await node.ask("CLUSTER", "SETSLOT", slot, "NODE", toId);
    }
  }

  /** From now on a replica takes the place of a primary that is gone. */
  async allowFailover(): Promise<void> {
    const setting = ["CONFIG", "SET", "cluster-replica-no-failover", "no"];
    await Promise.all(this.replicas.map((node) => node.ask(...setting)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
