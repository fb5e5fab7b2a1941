/** A primary, a replica and three Sentinels. */
import { eventually } from "../support/deadline.ts";
import { begun, infoOf, Server } from "./server.ts";

const name = "culvert-primary";
/** So that no Sentinel takes a server that is slow for one that is gone. */
const neverMs = 600_000;

/** Redis under Sentinels, which replace no primary before they are told to. */
export class Sentinels implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly servers: Server[] = [];
  readonly sentinels: Server[] = [];

  /** @param program redis-server or one like it */
  static async start(program: string): Promise<Sentinels> {
    const it = new Sentinels();
    return await begun(it, () => it.#start(program));
  }

  async #start(program: string): Promise<void> {
    const use = async (options: Parameters<typeof Server.start>[0]) =>
      this.#stack.use(await Server.start(options));
    const primary = await use({ program });
    const replica = await use({ program, args: ["--replicaof", "127.0.0.1", `${primary.port}`] });
    this.servers.push(primary, replica);
    await eventually(
      async () =>
        infoOf(await replica.askOnce("INFO", "replication"), "master_link_status") === "up",
      "the replica to follow",
    );
    for (let count = 0; count < 3; count++) {
      const config = [
        `sentinel monitor ${name} 127.0.0.1 ${primary.port} 2`,
        `sentinel down-after-milliseconds ${name} ${neverMs}`,
        `sentinel failover-timeout ${name} 5000`,
      ];
      this.sentinels.push(await use({ program, config, mode: "--sentinel" }));
    }
    await eventually(() => this.#areComplete(), "the Sentinels to find each other");
  }

  async #areComplete(): Promise<boolean> {
    for (const sentinel of this.sentinels) {
      const fields = (await sentinel.askOnce("SENTINEL", "MASTER", name)).split("\n");
      const field = (key: string) => fields[fields.indexOf(key) + 1];
      if (field("num-other-sentinels") !== "2" || field("num-slaves") !== "1") return false;
    }
    return true;
  }

  /** For `--directory`. */
  get url(): string {
    const hosts = this.sentinels.map(({ address }) => address).join(",");
    return `redis+sentinel://${hosts}/${name}`;
  }

  /** The server to write to, as a Sentinel sees it. */
  async primary(): Promise<Server> {
    const [sentinel] = this.sentinels;
    const reply = await sentinel!.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name);
    const [, port] = reply.split("\n");
    return this.servers.find((server) => server.port === Number(port))!;
  }

  /** From now on Sentinels replace a primary that they have not heard of for 3 s. */
  async allowFailover(): Promise<void> {
    // They promote no replica that was alone for more than ten times as long before.
    const after = ["SENTINEL", "SET", name, "down-after-milliseconds", "3000"];
    await Promise.all(this.sentinels.map((sentinel) => sentinel.ask(...after)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
