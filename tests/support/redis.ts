/** A real Redis on a free loopback port, with nothing on disk, for tests of the directory. */
import { eventually } from "./deadline.ts";
import { freePort } from "./free_port.ts";
import { openConnection, type RawConnection } from "./raw_connection.ts";

/** Whether `redis-server` is there; without it, tests of the directory say so loudly and are skipped. */
export const hasRedis = await canRun("redis-server", "--version");

if (!hasRedis) {
  console.error(
    "SKIPPED: tests of the directory need redis-server (apt-get install -y redis-server)",
  );
  // Where it has to be there, a run without these tests must not look whole.
  if (Deno.env.get("NEEDS_REDIS") === "true") throw new Error("redis-server is not there");
}

/** Whether a program is there. */
export async function canRun(command: string, ...args: string[]): Promise<boolean> {
  try {
    const output = await new Deno.Command(command, { args, stdout: "null", stderr: "null" })
      .output();
    return output.success;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return false;
  }
}

/** A Redis that can be stopped and started again under the same address. */
export class Redis implements AsyncDisposable {
  readonly address: string;
  readonly #port: number;
  #child: Deno.ChildProcess | undefined;
  #folder: string | undefined;

  private constructor(port: number) {
    this.#port = port;
    this.address = `127.0.0.1:${port}`;
  }

  /** Starts one and waits until it answers. */
  static async start(): Promise<Redis> {
    const redis = new Redis(freePort());
    await redis.start();
    return redis;
  }

  /** What relays take for `--directory`. */
  get url(): string {
    return `redis://${this.address}`;
  }

  /** Starts it (again), empty. */
  async start(): Promise<void> {
    const args = ["--port", String(this.#port), "--bind", "127.0.0.1", "--save", ""];
    // A replica writes what it is sent to its folder, and a server reads at its start what is there.
    const folder = this.#folder = await Deno.makeTempDir({ prefix: "culvert-redis-" });
    this.#child = new Deno.Command("redis-server", {
      args: [...args, "--appendonly", "no"],
      cwd: folder,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await eventually(() => this.#answers(), `Redis at ${this.address}`);
  }

  /** Ends it; what it held is gone. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child) return;
    child.kill("SIGKILL");
    await child.status;
    if (this.#folder !== undefined) await Deno.remove(this.#folder, { recursive: true });
    this.#folder = undefined;
  }

  /** Sends a command, and returns what came back, in Redis' own notation. */
  ask(...command: string[]): Promise<string> {
    return askRedis(this.address, ...command);
  }

  async #answers(): Promise<boolean> {
    try {
      return await this.ask("PING") === "+PONG";
    } catch {
      return false; // Not yet.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Sends a command to a server, and returns what came back, in Redis' own notation. */
export async function askRedis(address: string, ...command: string[]): Promise<string> {
  await using connection = await openConnection(address);
  const parts = command.map((part) => {
    return `$${new TextEncoder().encode(part).length}\r\n${part}\r\n`;
  });
  await connection.write(`*${parts.length}\r\n${parts.join("")}`);
  return await readReply(connection);
}

/** One reply; of a list, the items are joined by line breaks. */
async function readReply(connection: RawConnection): Promise<string> {
  const { reader } = connection;
  const line = new TextDecoder().decode(await reader.readUntil("\r\n")).trimEnd();
  if (line.startsWith("$")) {
    const length = Number(line.slice(1));
    if (length < 0) return "";
    const text = new TextDecoder().decode(await reader.readExactly(length));
    await reader.readExactly(2);
    return text;
  }
  if (line.startsWith("*")) {
    const items: string[] = [];
    while (items.length < Number(line.slice(1))) items.push(await readReply(connection));
    return items.join("\n");
  }
  return line;
}
