/** A real server that can be killed and frozen: Redis or Valkey, Sentinel or a node of a cluster. */
import { eventually } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { askRedis, canRun, hasRedis } from "../support/redis.ts";

/** Servers that these tests run with: Debian's Redis, and Valkey's where it is there. */
export const servers: readonly string[] = [
  ...hasRedis ? ["redis-server"] : [],
  ...await valkey(),
];

async function valkey(): Promise<string[]> {
  const program = Deno.env.get("VALKEY_SERVER") ?? "valkey-server";
  if (await canRun(program, "--version")) return [program];
  console.error("SKIPPED: no valkey-server (VALKEY_SERVER names one): Redis only");
  return [];
}

/** How to start one. */
export interface ServerOptions {
  readonly program: string;
  readonly port?: number;
  readonly args?: readonly string[];
  /** What its configuration file says; without it there is none. */
  readonly config?: readonly string[];
  /** Behind the file, such as `--sentinel`. */
  readonly mode?: string;
}

/** One server, with nothing on disk but what it writes itself. */
export class Server implements AsyncDisposable {
  readonly port: number;
  readonly address: string;
  readonly #options: ServerOptions;
  readonly #folder: string;
  #child: Deno.ChildProcess | undefined;

  private constructor(options: ServerOptions, port: number, folder: string) {
    this.port = port;
    this.address = `127.0.0.1:${port}`;
    this.#options = options;
    this.#folder = folder;
  }

  /** Starts one and waits until it answers. */
  static async start(options: ServerOptions): Promise<Server> {
    const folder = await Deno.makeTempDir({ prefix: "culvert-redis-" });
    const server = new Server(options, options.port ?? freePort(), folder);
    if (options.config) {
      await Deno.writeTextFile(`${folder}/server.conf`, `${options.config.join("\n")}\n`);
    }
    await server.start();
    return server;
  }

  /** Starts it (again), as it was configured last. */
  async start(): Promise<void> {
    const { program, args = [], config, mode } = this.#options;
    const common = ["--port", `${this.port}`, "--bind", "127.0.0.1"];
    const file = config ? ["server.conf", ...mode ? [mode] : []] : ["--save", ""];
    this.#child = new Deno.Command(program, {
      args: [...file, ...common, ...args],
      cwd: this.#folder,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await eventually(async () => {
      const reply = await this.askOnce("PING");
      return reply === "+PONG" || reply.startsWith("-NOAUTH");
    }, `the server at ${this.address}`);
  }

  ask(...command: string[]): Promise<string> {
    return askRedis(this.address, ...command);
  }

  /** As {@link ask}, for who asks again; nothing while it can't answer: a new role ends connections. */
  askOnce(...command: string[]): Promise<string> {
    return this.ask(...command).catch(() => "");
  }

  /** Ends it without a word. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    child?.kill("SIGKILL");
    await child?.status;
  }

  /** Freezes it: its connections stay, and nothing comes back on them. */
  freeze(): void {
    this.#child?.kill("SIGSTOP");
  }

  /** Lets it go on. */
  thaw(): void {
    this.#child?.kill("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Reads a field of what `INFO` or `CLUSTER INFO` says. */
export function infoOf(text: string, name: string): string | undefined {
  const line = text.split(/\r?\n/).find((line) => line.startsWith(`${name}:`));
  return line?.slice(name.length + 1);
}

/** Begins something, and disposes of what there is of it if that fails. */
export async function begun<Thing extends AsyncDisposable>(
  thing: Thing,
  begin: () => Promise<void>,
): Promise<Thing> {
  try {
    await begin();
    return thing;
  } catch (error) {
    await thing[Symbol.asyncDispose]();
    throw error;
  }
}
