/** The targets that an agent serves now; the table may be replaced while streams are open. */
import type { Announcement } from "../protocol/announcement.ts";
import { StreamError } from "../protocol/errors.ts";
import type { Stream } from "../protocol/stream.ts";
import { Target, type TargetHost } from "./target.ts";
import type { TargetConfig, TargetTable } from "./target_config.ts";

/** How a table differs from the one before. */
export interface TargetChanges {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
}

/** Finds the target of a stream. */
export class Targets {
  /** The last targets file, if it could not be taken: the one before it is in use. */
  refused: { readonly hash: string; readonly reason: string } | undefined;
  readonly #host: TargetHost;
  #table: TargetTable = { targets: [], hostnames: [] };
  #byName: ReadonlyMap<string, Target> = new Map();

  constructor(host: TargetHost, table: TargetTable) {
    this.#host = host;
    this.replace(table);
  }

  /** What is served now. */
  get table(): TargetTable {
    return this.#table;
  }

  /** Idle connections to all of them. */
  get idleConnections(): number {
    let count = 0;
    for (const target of this.#byName.values()) count += target.idleConnections;
    return count;
  }

  /** Open TCP connections by the target's name. */
  *openConnections(): Generator<[string, number]> {
    for (const [name, { config, openConnections }] of this.#byName) {
      if (config.kind === "tcp") yield [name, openConnections];
    }
  }

  /** What relays are told. */
  get announcement(): Announcement {
    const { targets, hostnames, hash } = this.#table;
    return {
      targets: targets.map(({ name, kind, host, impersonate }) => ({
        name,
        kind,
        ...(kind === "http" && host !== name && { host }),
        ...(impersonate && { impersonate: impersonate.demands.proof }),
      })),
      hostnames: [...hostnames],
      ...(hash !== undefined && { hash }),
    };
  }

  /**
   * Serves another table from now on. Targets that are the same keep their connections; streams of
   * those that are gone or have changed go on to their ends.
   */
  replace(table: TargetTable): TargetChanges {
    const before = this.#byName;
    const next = new Map<string, Target>();
    let [added, changed] = [0, 0];
    for (const config of table.targets) {
      const old = before.get(config.name);
      if (old?.config.identity === config.identity) {
        next.set(config.name, old);
        continue;
      }
      if (old) changed++;
      else added++;
      next.set(config.name, new Target(config, this.#host));
    }
    this.#byName = next;
    this.#table = table;
    const left = [...before.values()].filter((target) => next.get(target.config.name) !== target);
    for (const target of left) this.#leave(target);
    return { added, changed, removed: left.length - changed };
  }

  /** Serves a stream, or refuses it. @returns whether the agent has such a target. */
  serve(stream: Stream, name: string, kind: string): boolean {
    const target = this.#byName.get(name);
    if (target?.config.kind === kind) {
      target.serve(stream);
      return true;
    }
    stream.fail(
      target
        ? new StreamError("kind_not_supported", "the target is of another kind")
        : new StreamError("forbidden", "address not allowed"),
    );
    return target !== undefined;
  }

  /** Looks at the credentials of all of them. */
  lookAtCredentials(): void {
    for (const target of this.#byName.values()) target.lookAtCredential();
  }

  /** Ends idle connections. */
  close(): void {
    for (const target of this.#byName.values()) target.close();
  }

  #leave(target: Target): void {
    target.close();
    const next: TargetConfig | undefined = this.#byName.get(target.config.name)?.config;
    this.#host.metrics.targetLeft(target.config, next);
  }
}
