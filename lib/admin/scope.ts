/** What a token of the admin API may see and change. */
import { covers } from "../config/entries/hostnames.ts";
import type { AdminToken, EntryKind } from "../domain/admin.ts";
import { NamePatterns } from "../domain/name_patterns.ts";
import type { StatusScope } from "../domain/status.ts";
import { ApiError } from "./api_error.ts";

/** Names of the entries that somebody asks for. */
export class Scope implements StatusScope {
  readonly token: AdminToken;
  readonly #clusters: NamePatterns;
  /** Longer prefixes of other tokens, such as `team-a-` for `team`: policies with them are not this token's. */
  readonly #othersPrefixes: readonly string[];

  /** @param names Of all tokens: `team` has no policy of `team-a`'s. */
  constructor(token: AdminToken, names: readonly string[] = []) {
    this.token = token;
    this.#clusters = new NamePatterns(token.clusters);
    this.#othersPrefixes = names.map(prefixOf)
      .filter((prefix) => prefix !== this.policyPrefix && prefix.startsWith(this.policyPrefix));
  }

  /** Whether it allows just what another one does. */
  equals(other: Scope): boolean {
    const print = (scope: Scope) => JSON.stringify([scope.token, scope.#othersPrefixes]);
    return print(this) === print(other);
  }

  /** A text that is the same for scopes that see the same. */
  get view(): string {
    const { clusters, hostnames } = this.token;
    return JSON.stringify([clusters, hostnames, this.policyPrefix, this.#othersPrefixes]);
  }

  /** Whether it may do everything. */
  get isUnbounded(): boolean {
    const { clusters, hostnames } = this.token;
    return clusters.includes("*") && hostnames.includes("*");
  }

  seesCluster(id: string): boolean {
    return this.#clusters.matches(id);
  }

  seesService(
    { cluster, hostnames }: { readonly cluster: string; readonly hostnames: readonly string[] },
  ): boolean {
    return this.seesCluster(cluster) && hostnames.every((name) => this.#hasHostname(name));
  }

  /** Whether a policy is one of its own; names of others' policies are for those who see everything. */
  seesPolicy(name: string): boolean {
    return this.#ownsPolicy(name) || this.token.clusters.includes("*");
  }

  /** Whether an entry, or an agent, may be seen. */
  sees(kind: EntryKind | "agents", object: Readonly<Record<string, unknown>>): boolean {
    if (kind === "clusters") return this.seesCluster(String(object["id"]));
    if (kind === "agents") return this.seesCluster(String(object["cluster"]));
    if (kind === "policies") return this.seesPolicy(String(object["name"]));
    return this.seesService({ cluster: String(object["cluster"]), hostnames: hostnamesIn(object) });
  }

  /** What the names of policies begin with that it adds. */
  get policyPrefix(): string {
    return prefixOf(this.token.name);
  }

  #ownsPolicy(name: string): boolean {
    return name.startsWith(this.policyPrefix) &&
      !this.#othersPrefixes.some((prefix) => name.startsWith(prefix));
  }

  /** @throws {ApiError} unless an entry with this id or name may be asked for */
  checkName(kind: EntryKind, name: string): void {
    if (kind === "clusters" && !this.seesCluster(name)) {
      throw outOfScope(`the id ${quoted(name)} is out of the token's scope`, this.token.clusters);
    }
  }

  /** @throws {ApiError} unless an entry with this content may be there, be changed or deleted */
  checkEntry(kind: EntryKind, name: string, body: Readonly<Record<string, unknown>>): void {
    this.checkName(kind, name);
    if (kind === "policies") return this.#checkPolicy(name);
    if (kind === "services") this.#checkService(name, body);
    for (const hostname of hostnamesIn(body)) {
      if (this.#hasHostname(hostname)) continue;
      const what = `the hostname ${quoted(hostname)} is out of the token's scope`;
      throw outOfScope(what, this.token.hostnames);
    }
  }

  #checkPolicy(name: string): void {
    const { policyPrefix } = this;
    if (this.#ownsPolicy(name)) return;
    const others = this.#othersPrefixes.find((prefix) => name.startsWith(prefix));
    if (others !== undefined) {
      throw outOfScope(`names that begin with ${quoted(others)} are for another token's policies`, [
        `${policyPrefix}*`,
      ]);
    }
    throw outOfScope(`names of the token's policies begin with ${quoted(policyPrefix)}`, [
      `${policyPrefix}*`,
    ]);
  }

  #checkService(name: string, body: Readonly<Record<string, unknown>>): void {
    const cluster = String(body["cluster"]);
    if (!this.seesCluster(cluster)) {
      const what = `service ${quoted(name)} is for a cluster that is out of the token's scope`;
      throw outOfScope(what, this.token.clusters);
    }
    // A port of the relay is nobody's hostname.
    if (body["listen"] === undefined || this.isUnbounded) return;
    throw outOfScope('only a token for all clusters and hostnames ("*") may set listen', []);
  }

  #hasHostname(hostname: string): boolean {
    const name = hostname.toLowerCase().replace(/:\d+$/, "");
    return this.token.hostnames.some((pattern) =>
      pattern === "*" || pattern === name || covers(pattern, name)
    );
  }
}

function prefixOf(name: string): string {
  return `${name}-`;
}

function hostnamesIn({ hostnames }: Readonly<Record<string, unknown>>): string[] {
  return Array.isArray(hostnames) ? hostnames.map(String) : [];
}

function outOfScope(what: string, allowed: readonly string[]): ApiError {
  const message = allowed.length > 0 ? `${what}; allowed: ${allowed.join(", ")}` : what;
  return new ApiError(403, "out_of_scope", message, { allowed });
}

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 253));
}
