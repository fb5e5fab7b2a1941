/** Compiles the route table from the caches, and again when its sources have changed. */
import { cachedTunnels } from "../cached_tunnels.ts";
import type { Context } from "../context.ts";
import type { Tunnel } from "../tunnel.ts";
import { compileRoutes } from "./compile_routes.ts";
import { maxEntries } from "../named_texts.ts";
import { type NamedSources, namedSources } from "./named_sources.ts";
import { remembered } from "./remembered.ts";
import type { RouteTable } from "./route_table.ts";

/** What a compiler works with. */
export interface RouteCompilerOptions {
  readonly context: Pick<Context, "client" | "caches" | "settings" | "digest" | "log">;
  /** What is wrong with the text of a CA, as a relative clause; undefined if agents can use it. */
  readonly caFault: (text: string) => string | undefined;
  /** Called when there is a new table. */
  readonly compiled: () => void;
}

/** Changes that come in this time are compiled together: at most five tables a second. */
const compileMs = 200;

/** Holds the newest table. */
export class RouteCompiler {
  readonly #options: RouteCompilerOptions;
  readonly #caFault: RouteCompilerOptions["caFault"];
  #named: NamedSources;
  #tunnels: ReadonlyMap<string, Tunnel> = new Map();
  #table: RouteTable = { bindings: new Map(), tunnels: new Map(), policies: new Map() };
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isRunning = false;

  constructor(options: RouteCompilerOptions) {
    this.#options = options;
    const { context, caFault } = options;
    // To look at a long CA takes up to half a second, and each is read again every 10 s.
    this.#caFault = remembered(caFault, context.digest, maxEntries);
    this.#named = this.#newSources();
  }

  /** The tunnels of the last compilation, by their keys. */
  get tunnels(): ReadonlyMap<string, Tunnel> {
    return this.#tunnels;
  }

  /** The newest table; empty before the first. */
  get table(): RouteTable {
    return this.#table;
  }

  /** Whether a compilation is due. */
  get isDue(): boolean {
    return this.#timer !== undefined;
  }

  /** Compiles for the first time, or again after {@link stop}. */
  start(): void {
    // Another replica has followed the sources since: what was read before it may be old.
    this.#named = this.#newSources();
    this.#isRunning = true;
    this.#compile();
  }

  /** A source has changed: compiles again within {@link compileMs}. */
  soon(): void {
    if (!this.#isRunning) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#compile();
    }, compileMs);
  }

  /** Stops compiling, and reading texts and namespaces. */
  stop(): void {
    this.#isRunning = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const source of Object.values(this.#named)) source.stop();
  }

  #newSources(): NamedSources {
    const { context } = this.#options;
    return namedSources({ context, caFault: this.#caFault, changed: () => this.soon() });
  }

  #compile(): void {
    const { context: { caches, settings, digest }, compiled } = this.#options;
    this.#tunnels = cachedTunnels(caches, settings.namespace);
    const { namespaces, cas, credentials, callerTokens } = this.#named;
    namespaces.begin();
    const table = compileRoutes({
      tunnels: this.#tunnels,
      bindings: caches.values("bindings"),
      policies: caches.values("policies"),
      service: (key) => caches.get("services", key),
      namespace: (name) => namespaces.get(name),
      ca: (path) => cas.get(path),
      credential: (path) => credentials.get(path),
      callerToken: (path) => callerTokens.get(path),
      idPrefix: settings.idPrefix,
    }, digest);
    // A source that has not been read yet must not count as missing.
    const sources = Object.values(this.#named);
    if (!sources.every(({ isComplete }) => isComplete)) return;
    for (const source of sources) source.forgetUnused();
    this.#table = table;
    compiled();
  }
}
