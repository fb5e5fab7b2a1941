/** An agent with a file of targets, and a relay of the tests' own that asks for them. */
import { V2Relay, type V2RelaySession } from "../peers/v2_relay.ts";
import type { V2Stream } from "../peers/v2_stream.ts";
import { withFolder } from "../support/certificates.ts";
import { eventually } from "../support/deadline.ts";
import { type RunningAgent, startAgent } from "../support/programs.ts";
import { readResponse, statusOf } from "../support/raw_http.ts";

/** What the agent shows to the relay. */
export const token = "targets-token-0123456789";
const encoder = new TextEncoder();

/** A running agent, and the file that says what it serves. */
export class Setup {
  readonly relay: V2Relay;
  readonly agent: RunningAgent;
  readonly folder: string;

  private constructor(relay: V2Relay, agent: RunningAgent, folder: string) {
    this.relay = relay;
    this.agent = agent;
    this.folder = folder;
  }

  /** Runs `test` with an agent that has these targets. */
  static async with(
    targets: (folder: string) => Promise<readonly object[]> | readonly object[],
    test: (setup: Setup) => Promise<void>,
    args: readonly string[] = [],
  ): Promise<void> {
    await withFolder(async (folder) => {
      await writeTargets(folder, await targets(folder));
      await using relay = await V2Relay.start({ token });
      await using agent = await startAgent({
        relayUrl: relay.connectUrl,
        token,
        args: ["--targets", `${folder}/targets.yaml`, ...args],
      });
      await test(new Setup(relay, agent, folder));
    });
  }

  session(): Promise<V2RelaySession> {
    return this.relay.session();
  }

  /** Asks a target by HTTP. @returns the status, or the error's code. */
  async ask(target: string, path = "/", fields: readonly string[] = []): Promise<string> {
    const session = await this.session();
    const head = [`GET ${path} HTTP/1.1`, `Host: ${target}`, ...fields, "", ""].join("\r\n");
    const stream = await session.open(target, encoder.encode(head));
    try {
      return String(statusOf(await readResponse(stream.reader)));
    } catch {
      const end = await stream.outcome();
      return end.kind === "error" ? String(end.code) : end.kind;
    }
  }

  /** Opens a TCP stream, of which the agent may say that it is connected. */
  async dial(target: string, first = ""): Promise<V2Stream> {
    const session = await this.session();
    return await session.open(`tcp://${target}`, encoder.encode(first), { ends: false });
  }

  /** Replaces the file, and waits until the agent has it. */
  async replace(targets: readonly object[]): Promise<void> {
    const session = await this.session();
    const before = session.announcements.length;
    await writeTargets(this.folder, targets);
    await eventually(() => session.announcements.length > before, "another announcement");
  }

  async health(path: string): Promise<string> {
    const response = await fetch(`http://${this.agent.healthAddress}${path}`);
    return await response.text();
  }

  /** The value of a series; undefined for one that is not there. */
  async metric(series: string): Promise<number | undefined> {
    const line = (await this.health("/metrics")).split("\n")
      .find((text) => text.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.split(" ").at(-1));
  }
}

/** Replaces the file in one step. */
export async function writeTargets(folder: string, targets: readonly object[]): Promise<void> {
  // JSON is YAML too.
  await Deno.writeTextFile(`${folder}/next`, JSON.stringify({ targets }));
  await Deno.rename(`${folder}/next`, `${folder}/targets.yaml`);
}

/** Reads so many bytes of a stream. */
export async function textOf(stream: V2Stream, bytes: number): Promise<string> {
  return new TextDecoder().decode(await stream.reader.readExactly(bytes));
}
