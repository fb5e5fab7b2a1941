/** The targets that an agent serves now; the table may be replaced while streams are open. */
import type { Announcement } from "../protocol/announcement.ts";
import { namesBehindPaths, type PathTarget } from "../domain/target.ts";
import { StreamError } from "../protocol/errors.ts";
import type { Stream } from "../protocol/stream.ts";
import { PathChoice } from "./path_choice.ts";
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
  /** Those that are dialled. */
  #byName: ReadonlyMap<string, Target> = new Map();
  /** Those that a relay may ask for. */
  #asked: ReadonlyMap<string, Target | PathChoice> = new Map();

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
    const { hostnames, hash } = this.#table;
    return {
      targets: [...this.#asked.values()].map(({ config }) => this.#announced(config)),
      hostnames: [...hostnames],
      ...(hash !== undefined && { hash }),
    };
  }

  #announced(config: TargetConfig | PathTarget): Announcement["targets"][number] {
    const { name, kind } = config;
    // Those that paths lead to all demand the same proof.
    const [behind] = "paths" in config ? namesBehindPaths([config]) : [name];
    const impersonate = this.#byName.get(behind!)?.config.impersonate;
    return {
      name,
      kind,
      ...("host" in config && kind === "http" && config.host !== name && { host: config.host }),
      ...(impersonate && { impersonate: impersonate.demands.proof }),
    };
  }

  /**
   * Serves another table from now on. Targets that are the same keep their connections; streams of
   * those that are gone or have changed go on to their ends.
   */
  replace(table: TargetTable): TargetChanges {
    const [before, beforeByName] = [this.#table, this.#byName];
    const { targets, pathTargets = [] } = table;
    const next = new Map<string, Target>();
    for (const config of targets) {
      const old = beforeByName.get(config.name);
      const isSame = old?.config.identity === config.identity;
      next.set(config.name, isSame ? old! : new Target(config, this.#host));
    }
    const hidden = namesBehindPaths(pathTargets);
    const asked = new Map<string, Target | PathChoice>();
    for (const [name, target] of next) if (!hidden.has(name)) asked.set(name, target);
    for (const config of pathTargets) {
      asked.set(config.name, new PathChoice(config, next, this.#host));
    }
    [this.#table, this.#byName, this.#asked] = [table, next, asked];
    for (const target of beforeByName.values()) {
      if (next.get(target.config.name) !== target) this.#leave(target);
    }
    const { metrics } = this.#host;
    for (const { name } of before.pathTargets ?? []) {
      if (!(asked.get(name) instanceof PathChoice)) metrics.pathTargetLeft(name);
    }
    for (const { name } of pathTargets) metrics.pathTargetAdded(name);
    return changesBetween(identities(before), identities(table));
  }

  /** Serves a stream, or refuses it. @returns whether the agent has such a target. */
  serve(stream: Stream, name: string, kind: string): boolean {
    const target = this.#asked.get(name);
    if (target?.config.kind === kind) {
      target.serve(stream);
      return true;
    }
    stream.fail(
      target
        ? new StreamError("kind_not_supported", "the target has another kind")
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

/** Returns, by name, what makes a target the same as before. */
function identities({ targets, pathTargets = [] }: TargetTable): Map<string, string> {
  return new Map([
    ...targets.map(({ name, identity }): [string, string] => [name, identity]),
    ...pathTargets.map((target): [string, string] => [target.name, JSON.stringify(target)]),
  ]);
}

function changesBetween(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): TargetChanges {
  const kept = [...after.keys()].filter((name) => before.has(name));
  return {
    added: after.size - kept.length,
    changed: kept.filter((name) => before.get(name) !== after.get(name)).length,
    removed: before.size - kept.length,
  };
}
